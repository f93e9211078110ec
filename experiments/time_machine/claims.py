"""What is claimed of held-out losses at the learning rate that is the best by the same loss."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

MARGIN = 0.01
"""Nats a symbol: the least difference that matters."""
IS_NETWORK = pl.col("cell") != "trigram"


def at_best(name: str, where: pl.Expr, best: tuple[str, ...] = ("learning_rate",)) -> Side:
    return Side(name, where, best=best, chosen_by="held_out")


def of(series: str, order: str, where: pl.Expr = IS_NETWORK) -> Side:
    return at_best(f"{series}, {order}", (pl.col("series") == series) & (pl.col("order") == order) & where)


def longest(series: str, is_longest: bool) -> Side:
    end = pl.col("tau").max() if is_longest else pl.col("tau").min()
    return of(series, "random", IS_NETWORK & (pl.col("tau") == end))


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
PAPER = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"
TRIGRAM = at_best("the trigram model", ~IS_NETWORK, ("learning_rate", "order"))
ESTIMATORS = ["full()", "segment", "window", "randomized", "artbp"]
CLAIMS = (
    *(
        Claim(
            f"A {cell} network that is trained with all credit, in sequence, has a smaller loss than a trigram model.",
            *(CHAPTER, "held_out", of("full()", "sequential", pl.col("cell") == cell), TRIGRAM, "below", MARGIN),
        )
        for cell in ("tanh", "gru", "lstm")
    ),
    *(
        Claim(
            f"The longest {series}s have a smaller loss than the shortest.",
            *(CHAPTER, "held_out", longest(series, True), longest(series, False), "below", MARGIN),
            each=("cell",),
        )
        for series in ("segment", "window")
    ),
    Claim(
        "ARTBP has a smaller loss than truncation of the same nominal length.",
        *(PAPER, "held_out", of("artbp", "sequential"), of("segment", "sequential"), "below", MARGIN),
        each=("cell", "tau"),
    ),
    Claim(
        "Unbiased truncation (randomized) works no better than segments: their losses are level.",
        *(CHAPTER, "held_out", of("randomized", "random"), of("segment", "random"), "level", 2 * MARGIN),
        each=("cell", "tau"),
    ),
    Claim(
        "Sequential partition, the state carried, is better than random windows.",
        *(CHAPTER, "held_out", of("full()", "sequential"), of("full()", "random"), "below", MARGIN),
        each=("cell",),
    ),
)
