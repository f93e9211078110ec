"""The ordinary network and its sequences, and what is changed of them, one thing at a time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from tbptt_jax.lab.config import Config
from tbptt_jax.lab.table import named

AS_DRAWN = None
"""Of radii: weights as the cell draws them, with a spectral radius near 1."""


class Ordinary(NamedTuple):
    """What `break_even` looks at."""

    cell: str = "tanh"
    training: int = 1000
    length: Mapping[str, int] = {"copy": 60, "time_machine": 64}


ORDINARY = Ordinary()


def ordinary_length(task: str, otherwise: int) -> int:
    return ORDINARY.length.get(task, otherwise)


def is_one_change(config: Config) -> bool:
    """Whether at most one thing is changed; radii are changed in untrained networks alone."""
    task: Any = config.task
    other = [config["cell"] != ORDINARY.cell, config["training"] != ORDINARY.training]
    other.append(task.length != ordinary_length(task.name, task.length))
    return sum(other) <= 1 and (config["radius"] is AS_DRAWN or config["training"] == 0)


def of(*, cell: str = ORDINARY.cell, training: int = ORDINARY.training, radius: float | None = AS_DRAWN) -> pl.Expr:
    """The rows of such networks, whatever their sequences."""
    drawn = pl.col("radius").is_null() if radius is AS_DRAWN else pl.col("radius") == radius
    return (pl.col("cell") == cell) & (pl.col("training") == training) & drawn


def on(task: str, length: int | None = None) -> pl.Expr:
    """The rows of a task, with sequences of so many steps."""
    length = ordinary_length(task, 0) if length is None else length
    return (named("task") == task) & (pl.col("length") == length)
