"""One cell of a grid, read once: its axes as plain values, what they mean as objects, and its identity."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tbptt_jax.errors import choose as choose_known
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.by_name import all_estimators
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.named import made, read_call
from tbptt_jax.networks import KNOWN_CELLS
from tbptt_jax.tasks.base import Task
from tbptt_jax.tasks.by_name import all_tasks


@dataclass(frozen=True)
class Chosen:
    """An estimator as a grid names it, and as tables and figures speak of it."""

    estimator: Estimator
    given: str
    """The one way to write it in a grid, with the path of its file: "segment", "artbp(length=4)", "here/my.py:Mine"."""
    text: str
    """All of it: "segment(tau=8)", "my.py:Mine(keep=0.9)"."""
    method: str
    """Its class: "segment", "my.py:Mine"."""
    by_length: bool
    """Whether it was named alone, and has its length from the axis `tau`."""

    @property
    def series(self) -> str:
        """What one line of a figure is: the method over all its lengths, or this estimator alone."""
        return self.method if self.by_length else self.text

    @property
    def columns(self) -> dict[str, str]:
        """What tables say of it."""
        return {
            "estimator": self.text,
            "series": self.series,
            "method": self.method,
            "unbiased": self.estimator.unbiased,
        }


@dataclass(frozen=True, eq=False)
class Config(Mapping[str, Any]):
    """A mapping from the names of axes to plain values, and what these mean."""

    experiment: Experiment
    axes: Mapping[str, Any]
    """In canonical form: each way to write a cell gives the same."""
    chosen: tuple[Chosen, ...]
    """The estimators: one, or more where an experiment takes all of the axis together."""
    tasks: tuple[Task, ...]

    def __getitem__(self, name: str) -> Any:
        return self.axes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.axes)

    def __len__(self) -> int:
        return len(self.axes)

    @property
    def estimator(self) -> Estimator:
        """The estimator, of an experiment that has one a cell."""
        (chosen,) = self.chosen
        return chosen.estimator

    @property
    def task(self) -> Task:
        """The task, of an experiment that has one a cell."""
        (task,) = self.tasks
        return task

    @property
    def tau(self) -> int | None:
        """The length that the estimator takes from the axis `tau`; None where it was given in other words, or has
        none."""
        return self.axes.get("tau")

    @property
    def seed(self) -> int:
        """The seed of the cell's key: the axis `seed`, 0 in experiments without one."""
        return self.axes.get("seed", 0)

    @cached_property
    def identity(self) -> str:
        """The name of the cell's record: a hash of the experiment, its version and the canonical values. A value that
        `Experiment.added` names is left out: the cell is what it was before the axis was added."""
        before = {name: plain(value) for name, value in self.experiment.added.items()}
        values = {name: value for name, value in self.axes.items() if name not in before or value != before[name]}
        whole = {"experiment": self.experiment.name, "version": self.experiment.version, "config": values}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def columns(self) -> dict[str, Any]:
        """What every row of the cell has in tables beside what was measured; axes taken together are the rows'."""
        own = {name: value for name, value in self.axes.items() if name not in self.experiment.together}
        return own | (self.chosen[0].columns if len(self.chosen) == 1 else {})


def read_config(
    experiment: Experiment, values: Mapping[str, Any], choose: Callable[[str, int | None], Chosen] | None = None
) -> Config:
    """A cell from the values of its axes; a text that cannot be read is an error that names it. `choose` is
    `choose_estimator`, or one that remembers what it has read."""
    choose = choose or choose_estimator
    values = dict(values)
    chosen: list[Chosen] = []
    if "estimator" in values:
        whole = "estimator" in experiment.together
        texts = values["estimator"] if whole else [values["estimator"]]
        each = [choose(text, values.get("tau")) for text in texts]
        chosen = list({one.given: one for one in each}.values())  # however often it is named
        if not any(one.by_length for one in chosen):
            values.pop("tau", None)
        given = [one.given for one in chosen]
        values["estimator"] = given if whole else given[0]
    tasks: list[Task] = []
    if "task" in values:
        call = read_call("task", values["task"], all_tasks(), Task)
        tasks = [made("task", call)]
        values["task"] = call.written(tasks[0])
    if "cell" in values and names_known_cells(experiment):
        choose_known("cell", values["cell"], KNOWN_CELLS)
    canonical = {name: plain(values[name]) for name in sorted(values)}
    return Config(experiment, canonical, tuple(chosen), tuple(tasks))


def names_known_cells(experiment: Experiment) -> bool:
    """Whether an axis `cell` is of cells by name: a user's experiment may mean something else by it."""
    own = [axes.get("cell", []) for axes in experiment.axes.values()]
    names = [name for one in own for name in (one if isinstance(one, list | tuple) else [one])]
    return all(isinstance(name, str) and name in KNOWN_CELLS for name in names)


def choose_estimator(text: str, tau: int | None) -> Chosen:
    """The estimator of a text; one that is named alone takes its length from tau, if it has a length."""
    call = read_call("estimator", text, all_estimators(), Estimator)
    shown = call._replace(file=Path(call.file).name) if call.file else call
    name = call.kind.__name__ if call.file else call.kind.name
    method = shown.prefix + name
    if call.arguments is None and tau is not None and (est := call.kind.of_length(tau)) is not None:
        return Chosen(est, call.prefix + name, shown.written(est), method, by_length=True)
    est = made("estimator", call)
    return Chosen(est, call.written(est), shown.written(est), method, by_length=False)


def plain(value: Any) -> Any:
    """Numbers that are equal are written alike: 4.0 as 4."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
