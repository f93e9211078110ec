"""What is claimed of the last losses: that their order is the one that n* says.

n* of the same tasks stands in `break_even`: some ten sequences on copy, hundreds on text against segments.
"""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

LECTURE = 'the lecture: unbiased truncation "doesn\'t actually work any better in practice"'
THEORY = "n* of break_even"
MARGIN = 0.01
"""Nats a step: the least difference that matters."""


def side(method: str, task: str, batch: int | None = None) -> Side:
    """The trainings with one estimator on one task at their best rate."""
    where = (pl.col("method") == method) & pl.col("task").str.starts_with(task)
    if batch is not None:
        where &= pl.col("batch") == batch
    words = f"{method} on {task}" + (f" in batches of {batch}" if batch is not None else "")
    return Side(words, where, best=("learning_rate",))


def compare(sentence: str, source: str, ours: Side, theirs: Side, direction: str, each: tuple = ()) -> Claim:
    return Claim(sentence, source, "report", ours, theirs, direction, MARGIN, each=each)


CLAIMS = (
    compare(
        "On copy, where n* is some ten sequences, randomized truncation learns more than segments of its expected "
        "length in batches of 16.",
        THEORY,
        side("randomized", "copy", 16),
        side("segment", "copy", 16),
        "below",
    ),
    compare(
        "On text, where n* is hundreds of sequences, randomized truncation ends above segments of its expected length "
        "in batches of 1, 4 and 16.",
        LECTURE,
        side("randomized", "time_machine"),
        side("segment", "time_machine"),
        "above",
        ("batch",),
    ),
    compare(
        "On copy in batches of 16, randomized truncation ends level with the exact gradient.",
        THEORY,
        side("randomized", "copy", 16),
        side("full", "copy", 16),
        "level",
    ),
)
