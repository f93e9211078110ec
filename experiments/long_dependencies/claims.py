"""What is claimed of the part of the blind loss that is removed, at the best learning rate.

In this table the rate is chosen by the loss that is reported, which favours all methods alike.
"""

import polars as pl

from tbptt_jax.experiments.long_dependencies.measure import SOLVED
from tbptt_jax.lab.claims import Claim, Side

LONG_ENOUGH = pl.col("tau") >= pl.col("sees_all_from")
CUT = pl.col("series").is_in(["window", "segment"])


def at_best(name: str, where: pl.Expr) -> Side:
    return Side(name, where, best=("learning_rate",), chosen_by="held_out")


def too_short(series: str) -> Side:
    return at_best(f"{series}, too short", (pl.col("series") == series) & ~LONG_ENOUGH)


CHAPTER, TALLEC = "the textbook chapter and lecture on backpropagation through time", "Tallec & Ollivier 2017"
EACH = ("task", "cell", "tau")
LONG, SHORT = at_best("long truncation", CUT & LONG_ENOUGH), at_best("short truncation", CUT & ~LONG_ENOUGH)
CLAIMS = (
    Claim(
        "Truncation learns what lies within τ steps.",
        *(CHAPTER, "learned", LONG, SOLVED, "above"),
        each=(*EACH, "series"),
    ),
    Claim(
        "Truncation does not learn what lies beyond τ steps.",
        *(CHAPTER, "learned", SHORT, SOLVED, "below"),
        each=(*EACH, "series"),
    ),
    Claim(
        "Truncation that is too short learns some all the same: the state is carried.",
        *(CHAPTER, "learned", SHORT, 0.05, "above"),
        each=(*EACH, "series"),
    ),
    *(
        Claim(
            f"With a mean length that is too short, {series} learns more than segments.",
            *(TALLEC, "learned", too_short(series), too_short("segment"), "above", 0.05),
            each=EACH,
        )
        for series in ("randomized", "artbp")
    ),
    Claim(
        "The best gates learn more than equal ones.",
        *("this package", "learned", too_short("optimal"), too_short("randomized"), "above", 0.05),
        each=EACH,
    ),
)
