"""What an experiment is: axes at three scales, one function that measures a cell, figures, and claims to be judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tbptt_jax.errors import choose
from tbptt_jax.files import import_file

OUTCOMES = ("reproduced", "not reproduced", "undecided")
SCALES = ("smoke", "default", "paper")


class Verdict(NamedTuple):
    """Whether a claim holds, and the measured figure, with its interval, that says so."""

    outcome: str
    figure: str


@dataclass(frozen=True)
class Claim:
    """A sentence, where it comes from, and the function of the finished table that judges it."""

    sentence: str
    source: str
    judge: Callable[[pl.DataFrame], Verdict]

    def verdict(self, table: pl.DataFrame) -> Verdict:
        """The judge's word; a table that lacks what it needs leaves the claim undecided."""
        if table.is_empty():
            return Verdict("undecided", "nothing has been measured yet")
        try:
            verdict = self.judge(table)
        except (pl.exceptions.PolarsError, ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
            return Verdict("undecided", f"what was measured does not suffice: {type(error).__name__}: {error}")
        if verdict.outcome not in OUTCOMES:
            raise ValueError(f"claim {self.sentence!r}: an outcome among {OUTCOMES} is needed, got {verdict.outcome!r}")
        return verdict


@dataclass(frozen=True)
class Experiment:
    """One figure or table of a paper: `measure(config, key)` gives the rows of one cell of the grid of `axes`.

    `axes` maps each scale ("smoke", "default", "paper") to {axis: list of values, or one value}. A config maps axis
    names to values; cells that make no sense are those for which `makes_sense(config)` is false, and are left out. An
    estimator given by its name alone takes its length from the axis `tau`. A row is a dict of numbers, texts, and
    arrays (curves). Change `version` when `measure` changes: cells of another version do not count.
    """

    name: str
    source: str
    axes: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Mapping[str, Any], Any], list[dict[str, Any]]]
    plot: Callable[[pl.DataFrame], Mapping[str, Any]] | None = None
    claims: Sequence[Claim] = ()
    makes_sense: Callable[[Mapping[str, Any]], bool] | None = None
    version: int = 1
    summary: str = field(default="", compare=False)

    def __post_init__(self):
        if not self.name.isidentifier():
            raise ValueError(f"name: letters, digits and underscores are needed, got {self.name!r}")
        unknown = set(self.axes) - set(SCALES)
        if unknown or not self.axes:
            raise ValueError(f"axes: scales among {SCALES} are needed, got {sorted(self.axes)}")


def find_experiments(folder: Path = Path("experiments")) -> dict[str, Path]:
    """The files of a folder that may hold experiments, by name; `copy_.py` holds `copy`, a name that Python has too."""
    return {path.stem.rstrip("_"): path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def experiment_path(name: str, folder: Path = Path("experiments")) -> Path:
    """The file of an experiment, given by its name in the folder or by its path."""
    return Path(name) if name.endswith(".py") else choose("experiment", name, find_experiments(folder))


def load_experiment(name: str) -> Experiment:
    """The `Experiment` in the file of that name or path."""
    path = experiment_path(name)
    module = import_file("experiment", path)
    found = [value for value in vars(module).values() if isinstance(value, Experiment)]
    if len(found) != 1:
        raise ValueError(f"experiment: one Experiment is needed in {path}, found {len(found)}")
    return found[0]
