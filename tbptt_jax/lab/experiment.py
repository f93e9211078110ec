"""What an experiment is: axes at three scales, one function that measures a cell, figures, claims and checks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tbptt_jax.errors import UserError
from tbptt_jax.lab.claims import Check, Claim, Judged

SCALES = ("smoke", "default", "paper")


@dataclass(frozen=True)
class Experiment:
    """One figure or table of a paper: `measure(config, key)` gives the rows of one cell of the grid of `axes`.

    `axes` maps each scale ("smoke", "default", "paper") to {axis: list of values, or one value}. A `Config` maps axis
    names to values, and holds the estimator and the task that they name as objects. An estimator named alone takes its
    length from the axis `tau`. Cells for which `makes_sense(config)` is false are left out. The values of axes that are
    named in `together` belong to one cell, all of them. A row is a dict of numbers, texts, and arrays (curves).

    `added` maps an axis that an experiment was given after it had been measured to the value that says what a cell was
    without it: such a cell is the same, and what was measured of it counts with `tbptt run --keep`, since the code of
    `measure` is another. The axes `estimator`, `task` and `tau` cannot be added so.

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
    claims: Sequence[Claim | Judged] = ()
    checks: Sequence[Check] = ()
    makes_sense: Callable[[Any], bool] | None = None
    together: Sequence[str] = ()
    added: Mapping[str, Any] = field(default_factory=dict)
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
        if unknown := set(self.added) - {name for axes in self.axes.values() for name in axes}:
            raise UserError(f"added: names of axes are needed, got {sorted(unknown)}")
        if refused := set(self.added) & {"estimator", "task", "tau"}:
            raise UserError(f"added: axes of plain values are needed, got {sorted(refused)}")
