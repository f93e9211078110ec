"""What is claimed of networks after training with short and with full credit."""

import polars as pl

from tbptt_jax.experiments.regularization.measure import EQUAL
from tbptt_jax.lab.claims import Claim, Side

CHAPTER = "the textbook chapter and lecture on backpropagation through time"
KRUEGER = "Krueger et al. 2017, Zoneout"
MARGIN = 0.02
"""Nats a symbol: the least difference that matters."""
IS_FULL = pl.col("series") == "full()"
FULL = Side("full backpropagation", IS_FULL & (pl.col("zoneout") == 0))
ZONEOUT = Side("zoneout", IS_FULL & (pl.col("zoneout") == 0.1))
LITTLE = 0.05
"""The zoneout of about the effect of the shortest segments, by the line between what none and 0.1 of it came to."""
OF_EQUAL_EFFECT = Side(f"zoneout of {LITTLE}", IS_FULL & (pl.col("zoneout") == LITTLE))


def shortest(series: str) -> Side:
    where = (pl.col("series") == series) & (pl.col("tau") == pl.col("tau").min())
    return Side(f"{series} at the shortest length", where)


CLAIMS = (
    *(
        Claim(
            f"A model that is trained with the shortest {series}s looks back less far than one with all credit.",
            *(CHAPTER, "horizon", shortest(series), FULL),
            margin=1.0,
        )
        for series in ("segment", "window")
    ),
    *(
        Claim(
            f"Where all have the same loss in training ({EQUAL} nats), {series} of the shortest length has a smaller "
            "loss on held-out text than all credit.",
            *(CHAPTER, "at_equal_loss", shortest(series), FULL),
            margin=MARGIN,
        )
        for series in ("segment", "window", "artbp")
    ),
    *(
        Claim(
            f"At its best moment, {series} of the shortest length has a smaller loss on held-out text than all credit.",
            *(CHAPTER, "report", shortest(series), FULL),
            margin=MARGIN,
        )
        for series in ("segment", "window", "randomized")
    ),
    Claim(
        "At its best moment, zoneout has a smaller loss on held-out text than the shortest segments.",
        *(KRUEGER, "report", ZONEOUT, shortest("segment")),
        margin=MARGIN,
    ),
    Claim(
        f"Zoneout of {LITTLE} has the effect of the shortest segments: their losses on held-out text are level.",
        *(CHAPTER, "report", OF_EQUAL_EFFECT, shortest("segment"), "level"),
        margin=MARGIN,
    ),
    Claim(
        f"A model that is trained with zoneout of {LITTLE} looks back less far than one with the shortest segments.",
        *(CHAPTER, "horizon", OF_EQUAL_EFFECT, shortest("segment")),
        margin=1.0,
    ),
)
