"""What is claimed of n*, for one change at a time; the median over networks decides, as in `break_even`."""

import polars as pl

from tbptt_jax.experiments.break_even.claims import BATCH, LECTURE, OTHERS
from tbptt_jax.experiments.break_even_conditions.conditions import of, on
from tbptt_jax.lab.claims import Claim, Side


def n_star(words: str, where: pl.Expr, method: str = "artbp") -> Side:
    """n* of an unbiased truncation against segments."""
    return Side(words, where & (pl.col("method") == method) & (pl.col("against") == "segment"))


def compare(sentence: str, source: str, ours: Side, theirs: Side | float, direction: str) -> Claim:
    return Claim(sentence, source, "by_error", ours, theirs, direction, ratio=True, average="median")


def in_a_cell(cell: str, task: str, method: str, direction: str) -> Claim:
    words = f"{method} overtakes segments {direction} {BATCH:g} sequences an update"
    sentence = f"In a network of {cell.upper()}s on {task}, {words}."
    side = n_star(f"{method} in a {cell} on {task}", of(cell=cell) & on(task), method)
    return compare(sentence, OTHERS if direction == "below" else LECTURE, side, BATCH, direction)


def than(sentence: str, ours: tuple[str, pl.Expr], theirs: tuple[str, pl.Expr], direction: str) -> Claim:
    """Each side is rows, and what they are called where they were not measured."""
    return compare(sentence, "this package", n_star(*ours), n_star(*theirs), direction)


CLAIMS = (
    *(in_a_cell(cell, "copy", "artbp", "below") for cell in ("gru", "lstm")),
    *(in_a_cell(cell, "time_machine", "randomized", "above") for cell in ("gru", "lstm")),
    than(
        "Training lowers n* of artbp on copy: what reaches far is learned.",
        ("artbp on copy after training", of() & on("copy")),
        ("artbp on copy before training", of(training=0) & on("copy")),
        "below",
    ),
    than(
        "Before training, n* of artbp on copy is lower where the radius is larger.",
        ("artbp on copy at a radius of 1.4", of(training=0, radius=1.4) & on("copy")),
        ("artbp on copy at a radius of 0.6", of(training=0, radius=0.6) & on("copy")),
        "below",
    ),
    *(
        than(
            f"n* of artbp on {task} is lower where sequences are four times as long.",
            (f"artbp on {task} with {4 * short} steps", of() & on(task, 4 * short)),
            (f"artbp on {task} with {short} steps", of() & on(task, short)),
            "below",
        )
        for task, short in (("copy", 30), ("time_machine", 32))
    ),
)
