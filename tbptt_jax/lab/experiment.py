"""What an experiment is: axes at three scales, one function that measures a cell, figures, and claims to be judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from tbptt_jax.errors import UserError

OUTCOMES = ("reproduced", "not reproduced", "undecided")
SCALES = ("smoke", "default", "paper")


class NotMeasured(UserError):
    """What a figure or a judge needs is not in the table: the axes that were chosen leave it out."""


class Verdict(NamedTuple):
    """Whether a claim holds, and what was measured, with its interval, that says so."""

    outcome: str
    measured: str


@dataclass(frozen=True)
class Claim:
    """A sentence, where it comes from, and the function of the finished table that judges it.

    A judge whose rows are not in the table says so by `needed`; whatever else it raises is a defect of the judge.
    """

    sentence: str
    source: str
    judge: Callable[[pl.DataFrame], Verdict]

    def verdict(self, table: pl.DataFrame) -> Verdict:
        """The judge's word; a claim about what was not measured is undecided."""
        if table.is_empty():
            return Verdict("undecided", "nothing has been measured yet")
        try:
            verdict = self.judge(table)
        except NotMeasured as lack:
            return Verdict("undecided", f"not measured: {lack}")
        if verdict.outcome not in OUTCOMES:
            raise ValueError(f"claim {self.sentence!r}: an outcome among {OUTCOMES} is needed, got {verdict.outcome!r}")
        return verdict


def needed(rows: pl.DataFrame, what: str) -> pl.DataFrame:
    """The rows, of which a figure or a judge needs one at least."""
    if rows.is_empty():
        raise NotMeasured(what)
    return rows


@dataclass(frozen=True)
class Experiment:
    """One figure or table of a paper: `measure(config, key)` gives the rows of one cell of the grid of `axes`.

    `axes` maps each scale ("smoke", "default", "paper") to {axis: list of values, or one value}. A `Config` maps axis
    names to values, and holds the estimator and the task that they name as objects. An estimator named alone takes its
    length from the axis `tau`. Cells for which `makes_sense(config)` is false are left out. The values of axes that are
    named in `together` belong to one cell, all of them. A row is a dict of numbers, texts, and arrays (curves).

    A record counts as long as what decides its numbers is as it was: the code of `measure` and of all that it leads to,
    the contents of the files in `data` and of those of the tasks, precision, devices. `version` is for what no file
    shows.

    `plot(table)` gives figures, or functions that draw one, by name; a function may raise `NotMeasured`.
    """

    name: str
    source: str
    axes: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Any, Any], list[dict[str, Any]]]
    plot: Callable[[pl.DataFrame], Mapping[str, Any]] | None = None
    claims: Sequence[Claim] = ()
    makes_sense: Callable[[Any], bool] | None = None
    together: Sequence[str] = ()
    data: Sequence[Any] = ()
    version: int = 1
    summary: str = field(default="", compare=False)

    def __post_init__(self):
        if not self.name.isidentifier():
            raise UserError(f"name: letters, digits and underscores are needed, got {self.name!r}")
        unknown = set(self.axes) - set(SCALES)
        if unknown or not self.axes:
            raise UserError(f"axes: scales among {SCALES} are needed, got {sorted(self.axes)}")
        if set(self.together) - {"estimator"}:
            raise UserError(f"together: only the axis estimator can be, got {self.together!r}")
