"""What is claimed of the perplexities on the report set; rates, moments and lengths are chosen on another."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

AICHER = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time, table 1"
FIXED_K, TAU = pl.col("series") == "rolling", pl.col("tau")


def at_best(name: str, where: pl.Expr, *best: str) -> Side:
    return Side(name, where, best=("learning_rate", *best))


SHORTEST = at_best("the shortest truncation", FIXED_K & (TAU.min() == TAU))
LONGEST = at_best("the longest truncation", FIXED_K & (TAU.max() == TAU))
BEST = at_best("the best fixed truncation", FIXED_K, "tau")
ADAPTIVE = at_best("the best adaptive truncation", pl.col("method") == "adaptive_rolling", "series")


def compare(sentence: str, ours: Side, theirs: Side, direction: str, margin: float) -> Claim:
    """By medians: a network has copied or it has not."""
    return Claim(sentence, AICHER, "perplexity", ours, theirs, direction, margin, True, ("task",), average="median")


def learns(sentence: str, where: pl.Expr) -> Claim:
    """Each length is asked apart: its perplexity is below that of what cannot recall by a factor of 1.1 and more."""
    ours, blind = (
        Side(name, FIXED_K & where, best=("learning_rate",), quantity=quantity)
        for name, quantity in (("fixed truncations", ""), ("what cannot recall", "blind"))
    )
    how = {"margin": 0.1, "ratio": True, "each": ("task", "tau"), "average": "median"}
    return Claim(sentence, AICHER, "perplexity", ours, blind, "below", **how)


CLAIMS = (
    learns("Truncations of 10 steps, the longest line, and more learn to copy.", TAU >= 10),
    learns("A truncation of 5 learns too.", TAU.min() == TAU),
    compare("A truncation of 5 ends a tenth above the best fixed one, and more.", SHORTEST, BEST, "above", 0.1),
    compare("The longest truncation, of 30, ends above the best fixed one.", LONGEST, BEST, "above", 0.0),
    compare("Adaptive truncation ends below the best fixed one.", ADAPTIVE, BEST, "below", 0.0),
)
