"""What is claimed of perplexities, at what is the best by the same loss."""

import polars as pl

from tbptt_jax.experiments.copy.measure import SEES_ALL
from tbptt_jax.lab.claims import Claim, Side

AICHER = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time, table 1"
WINDOW, TAU = pl.col("series") == "window", pl.col("tau")


def at_best(name: str, where: pl.Expr, *best: str) -> Side:
    return Side(name, where, best=("learning_rate", *best), chosen_by="held_out")


SHORTEST = at_best("the shortest windows", WINDOW & (TAU.min() == TAU))
LONG = at_best("windows that see all", WINDOW & (TAU >= SEES_ALL), "tau")
BEST = at_best("the best window", WINDOW, "tau")
ADAPTIVE = at_best("the best adaptive windows", pl.col("method") == "adaptive", "series")
CLAIMS = (
    Claim(
        "The shortest windows have a larger perplexity than those that see all, by half.",
        *(AICHER, "perplexity", SHORTEST, LONG, "above", 0.5, True, ("task",)),
    ),
    Claim(
        "Adaptive windows are level with the best fixed one, within a twentieth.",
        *(AICHER, "perplexity", ADAPTIVE, BEST, "level", 0.05, True, ("task",)),
    ),
)
