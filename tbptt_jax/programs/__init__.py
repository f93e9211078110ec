"""JAX programs as they are: which loops are in them, and the same programs with the derivative of their loops cut."""
