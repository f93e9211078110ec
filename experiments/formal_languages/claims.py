"""What is claimed of bits a symbol on the report set; the learning rate and the moment are chosen on another."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

UORO, EACH = "Tallec & Ollivier 2018, Unbiased online recurrent optimization", ("task",)
MARGIN = 0.01
"""Bits a symbol: the least difference that matters."""


def at_best(name: str, where: pl.Expr, quantity: str = "") -> Side:
    return Side(name, where, best=("learning_rate",), quantity=quantity)


def of(series: str, quantity: str = "") -> Side:
    return at_best(f"{series} {quantity}".strip(), pl.col("series") == series, quantity)


def compare(
    sentence: str, source: str, ours: Side, theirs: Side, direction: str = "below", each: tuple = EACH
) -> Claim:
    return Claim(sentence, source, "bits", ours, theirs, direction, MARGIN, each=each)


SEGMENT, TAU = pl.col("series") == "segment", pl.col("tau")
LONGEST = at_best("the longest segments", SEGMENT & (TAU.max() == TAU))
SHORTEST = at_best("the shortest segments", SEGMENT & (TAU.min() == TAU))
CLAIMS = (
    compare(
        "The longest segments need fewer bits than the shortest, which make more updates.", UORO, LONGEST, SHORTEST
    ),
    compare("UORO needs fewer bits than the shortest truncation.", UORO, of("uoro()"), SHORTEST),
    compare(
        "The best gates need as many bits as equal ones.",
        *("this package", of("optimal"), of("randomized"), "level", ("task", "tau")),
    ),
    compare(
        "ARTBP needs fewer bits than segments of its mean length.",
        *("Tallec & Ollivier 2017", of("artbp"), of("segment"), "below", ("task", "tau")),
    ),
    compare(
        "Full backpropagation over chunks of 32 needs fewer bits than the best predictor that cannot recall.",
        *("textbook practice", of("full()"), of("full()", "blind")),
    ),
)
