"""Training: one `update` for every estimator, the `loop` around it, and its `checkpoint`s."""
