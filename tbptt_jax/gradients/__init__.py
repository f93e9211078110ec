"""What the estimators share: a scan whose backward pass can be cut, and the readable definition beside it."""
