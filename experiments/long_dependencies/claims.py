"""What is claimed of the part of the blind loss that is removed, at the best learning rate."""

import polars as pl

from tbptt_jax.experiments.long_dependencies.measure import SOLVED
from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.claims import Claim, Side

LONG_ENOUGH = pl.col("tau") > pl.col("distance")


def at_best(name: str, where: pl.Expr) -> Side:
    return Side(name, where, best=("learning_rate",))


def of_8(series: str) -> Side:
    """One series at a length that is too short."""
    return at_best(f"{series} of 8, too short", (pl.col("series") == series) & ~LONG_ENOUGH & (pl.col("tau") == 8))


TALLEC = "Tallec & Ollivier 2017"
WINDOWS = pl.col("series") == "window"
LONG, SHORT = at_best("long windows", WINDOWS & LONG_ENOUGH), at_best("short windows", WINDOWS & ~LONG_ENOUGH)
EACH = ("task", "cell", "tau")
CLAIMS = (
    Claim(
        "Windows learn what lies within τ steps, in nine of ten settings.",
        *(CHAPTER, "learned", LONG, SOLVED, "above", 0.0, False, EACH, 0.9),
    ),
    Claim(
        "Windows do not learn what lies beyond τ steps, in nine of ten settings.",
        *(CHAPTER, "learned", SHORT, SOLVED, "below", 0.0, False, EACH, 0.9),
    ),
    Claim(
        "Windows that are too short learn a twentieth all the same, from the state, in nine of ten settings.",
        *(CHAPTER, "learned", SHORT, 0.05, "above", 0.0, False, EACH, 0.9),
    ),
    *(
        Claim(
            f"With a mean length of 8, {series} learns what is more than 8 steps away better than segments of 8.",
            *(TALLEC, "learned", of_8(series), of_8("segment"), "above", 0.05),
            each=("task", "cell"),
        )
        for series in ("randomized", "artbp")
    ),
)
