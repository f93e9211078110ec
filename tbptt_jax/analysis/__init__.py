"""What an estimator's gradient is worth: exactly where that is possible, by sampling with intervals where not."""
