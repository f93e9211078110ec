"""Records on disk: what became of each cell, in files that are only ever added to. Nothing here imports JAX."""
