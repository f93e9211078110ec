"""What is claimed of gradients over the response by finite differences, and of what gradient descent makes of them."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

MEDIAN = "median"  # single simulations run away
WHOLE = Side("the exact gradient", pl.col("tau") == pl.col("tau").max())
MIDDLE = Side("segments of 50 to 200 steps", pl.col("tau").is_between(50, 200))
CLAIMS = (
    Claim(
        "The exact gradient of a long chaotic simulation is a hundred times as large as its response, and more.",
        *("folklore", "ratio", WHOLE, 100.0, "above", 0.0, True, (), 1.0, MEDIAN),
    ),
    Claim(
        "Segments of 50 to 200 steps have a gradient within a factor of 2 of the response.",
        *("folklore", "ratio", MIDDLE, 1.0, "level", 1.0, True, ("tau",), 1.0, MEDIAN),
    ),
    Claim(
        "Gradient descent with segments of 50 to 200 steps ends within 0.5 of the true parameter.",
        *("folklore", "miss", MIDDLE, 0.5, "below", 0.0, False, ("tau",), 1.0, MEDIAN),
    ),
)
