"""What is claimed of networks after training with short and with full credit."""

import polars as pl

from tbptt_jax.experiments.regularization.measure import EQUAL
from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.claims import Claim, Side

KRUEGER = "Krueger et al. 2017, Zoneout"
ZAREMBA = "Zaremba, Sutskever & Vinyals 2014, Recurrent neural network regularization"
MARGIN = 0.02
"""Nats a symbol: the least difference that matters."""
IS_FULL = pl.col("series") == "full()"
FULL = Side("full backpropagation", IS_FULL & (pl.col("zoneout") == 0))
ZONEOUT = Side("zoneout", IS_FULL & (pl.col("zoneout") == 0.1))
LITTLE = {
    0.05: "the line between none and 0.1",
    0.02: "the parabola through none, 0.05 and 0.1",
    0.01: "an effect that comes near its largest exponentially, through none, 0.02 and 0.05",
}
"""What zoneout was chosen to have the effect of the shortest segments, each before it was measured, and by what."""


def shortest(series: str) -> Side:
    where = (pl.col("series") == series) & (pl.col("tau") == pl.col("tau").min())
    return Side(f"{series} at the shortest length", where)


def dropout(rate: float) -> Side:
    return Side(f"dropout of {rate}", IS_FULL & (pl.col("dropout") == rate))


def of_equal_effect(rate: float) -> tuple[Claim, Claim]:
    zoneout = Side(f"zoneout of {rate}", IS_FULL & (pl.col("zoneout") == rate))
    return (
        Claim(
            f"Zoneout of {rate} has the effect of the shortest segments: their losses on held-out text are level.",
            *(CHAPTER, "report", zoneout, shortest("segment"), "level"),
            margin=MARGIN,
        ),
        Claim(
            f"A model that is trained with zoneout of {rate} looks back less far than one with the shortest segments.",
            *(CHAPTER, "horizon", zoneout, shortest("segment")),
            margin=1.0,
        ),
    )


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
    *(claim for rate in LITTLE for claim in of_equal_effect(rate)),
    *(
        Claim(
            f"At its best moment, dropout of {rate} has a smaller loss on held-out text than {name}.",
            *(ZAREMBA, "report", dropout(rate), side),
            margin=MARGIN,
        )
        for rate in (0.05, 0.2, 0.5)
        for side, name in ((FULL, "all credit"), (shortest("segment"), "the shortest segments"))
    ),
    Claim(
        "A model that is trained with dropout of 0.5 looks back less far than one with all credit.",
        *(ZAREMBA, "horizon", dropout(0.5), FULL),
        margin=1.0,
    ),
)
