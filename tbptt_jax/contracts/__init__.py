"""What every estimator and every task must hold to: the tests behind `tbptt check`."""
