"""What is claimed of the losses on the report set; rates and moments are chosen on another."""

import polars as pl

from tbptt_jax.experiments.online.claims import MARGIN
from tbptt_jax.lab.claims import Claim, Side

LAZY = "Marschall, Cho & Savin 2019, Evaluating biological plausibility of learning algorithms the lazy way"


def of(method: str, optimizer: str) -> Side:
    where = (pl.col("method") == method) & (pl.col("optimizer") == optimizer)
    return Side(f"{method} by {optimizer}", where, best=("learning_rate",))


def compare(sentence: str, source: str, ours: Side, theirs: Side, direction: str) -> Claim:
    return Claim(sentence, source, "report", ours, theirs, direction, MARGIN, True, ("task",))


CLAIMS = tuple(
    compare(
        f"By {words} the derivative of the one step alone suffices: it is level with the exact gradient.",
        *(LAZY, of("window", optimizer), of("rtrl", optimizer), "level"),
    )
    for optimizer, words in (("rmsprop", "RMSprop"), ("sgd", "plain descent"))
)
