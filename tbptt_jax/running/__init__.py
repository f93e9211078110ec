"""Run the cells of a grid in processes that cannot hurt the run. What supervises them does not import JAX."""
