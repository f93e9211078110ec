"""What the estimators share, two engines: `cuts`, backward passes that are cut, and `influence`, derivatives that are
carried forward in time."""
