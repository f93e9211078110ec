"""What is claimed of the losses that are reported, at the best learning rate on other sequences."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

LECTURE = 'the lecture: "but maybe somebody can make it work"'
MARGIN = 0.01
"""Nats a step, on adding squares: the least difference that matters."""


def side(way: str, task: str) -> Side:
    where = (pl.col("way") == way) & pl.col("task").str.starts_with(task)
    return Side(f"{way} on {task}", where, best=("learning_rate",))


def compare(sentence: str, task: str, ours: str, theirs: str, direction: str = "below") -> Claim:
    """By medians: of twenty networks one or two do not learn recall or agreement, which a mean takes for the rule."""
    how = (direction, MARGIN)
    return Claim(sentence, LECTURE, "report", side(ours, task), side(theirs, task), *how, average="median")


WITH = "randomized with a critic"
CLAIMS = (
    *(
        compare(f"On {task}, randomized truncation learns more with a critic than without.", task, WITH, "randomized")
        for task in ("copy", "recall", "agreement", "adding")
    ),
    *(
        compare(f"On {task}, randomized truncation with a critic learns more than segments.", task, WITH, "segment")
        for task in ("copy", "recall", "agreement", "adding")
    ),
    compare(
        "On text, randomized truncation with a critic ends above segments.", "time_machine", WITH, "segment", "above"
    ),
)
