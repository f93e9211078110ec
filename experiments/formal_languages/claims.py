"""What is claimed of bits a symbol, at the learning rate that is the best by the same loss."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side


def at_best(name: str, where: pl.Expr, quantity: str = "") -> Side:
    return Side(name, where, best=("learning_rate",), chosen_by="held_out", quantity=quantity)


def of(series: str, quantity: str = "") -> Side:
    return at_best(f"{series} {quantity}".strip(), pl.col("series") == series, quantity)


SEGMENT, TAU = pl.col("series") == "segment", pl.col("tau")
LONGEST = at_best("the longest segments", SEGMENT & (TAU.max() == TAU))
SHORTEST = at_best("the shortest segments", SEGMENT & (TAU.min() == TAU))
UORO, EACH = "Tallec & Ollivier 2018, Unbiased online recurrent optimization", ("task",)
CLAIMS = (
    Claim("The longest segments need fewer bits than the shortest.", UORO, "bits", LONGEST, SHORTEST, each=EACH),
    Claim("UORO needs fewer bits than the shortest truncation.", UORO, "bits", of("uoro()"), SHORTEST, each=EACH),
    Claim(
        "The best gates need fewer bits than equal ones.",
        *("this package", "bits", of("optimal"), of("randomized")),
        each=("task", "tau"),
    ),
    Claim(
        "Full backpropagation over chunks of 32 needs fewer bits than the best predictor that cannot recall.",
        *("textbook practice", "bits", of("full()"), of("full()", "blind")),
        each=EACH,
    ),
)
