"""From axes to cells: what may be chosen instead, how it is written, and what is refused before anything runs."""

import ast
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from tbptt_jax.errors import UserError, choose
from tbptt_jax.lab.config import Config, choose_estimator, read_config
from tbptt_jax.lab.experiment import Experiment


@dataclass(frozen=True)
class Choices:
    """What a user asks of an experiment's grid: a scale, and other values of some axes."""

    scale: str = "default"
    settings: Sequence[str] = ()
    """Texts such as "tau=4,16"."""
    estimators: Sequence[str] = ()
    """In the place of the experiment's own."""
    added_estimators: Sequence[str] = ()
    """Beside them."""
    tasks: Sequence[str] = ()
    seeds: int | None = None
    cap: int | None = None
    """Seeds may be added to the grid until there are so many; this makes it no other grid."""

    @property
    def others(self) -> list[str]:
        """In words, the values that are chosen in the place of the scale's own."""
        words = [short(text) for text in self.settings]
        for name, values in (("", self.estimators), ("+", self.added_estimators), ("task=", self.tasks)):
            words += [f"{name}{value}" for value in values]
        return words + ([f"seeds={self.seeds}"] if self.seeds is not None else [])

    def __str__(self) -> str:
        return f"scale {self.scale}" + (f" with {', '.join(self.others)}" if self.others else "")

    def place(self, folder: Path) -> Path:
        """Where tables, figures and claims of such a grid stand: those of the default scale in an experiment's folder,
        others in folders of their own below it."""
        if self.others:
            return folder / "chosen"
        return folder if self.scale == "default" else folder / self.scale

    def axes(self, experiment: Experiment) -> dict[str, list]:
        """The values of every axis, after a check that such axes and values can be."""
        axes = {name: as_list(values) for name, values in choose("scale", self.scale, experiment.axes).items()}
        other = dict(map(parse_setting, self.settings))
        for name, values in (("estimator", self.estimators), ("task", self.tasks)):
            if values:
                other[name] = list(values)
        if self.seeds is not None:
            other["seeds"] = [self.seeds]
        for name, values in other.items():
            default = choose("axis", name, axes)
            axes[name] = [like(name, value, default) for value in values]
        if self.added_estimators:
            axes["estimator"] = [*choose("axis", "estimator", axes), *self.added_estimators]
        if self.cap is not None:
            if "seed" not in axes:
                raise UserError(
                    f"--until-decided: {experiment.name} has no axis seed, so none can be added; "
                    "--seeds N measures so many from the start"
                )
            axes["seed"] = [*axes["seed"], *added_seeds(axes, self.cap)]
        return axes


def added_seeds(axes: Mapping[str, list], cap: int) -> list[int]:
    """The values of `seed` that follow those of a grid; where a cell has many seeds, `seeds` of them, each value is the
    first of so many."""
    at_once = axes.get("seeds", [1])[0]
    first = max(axes["seed"]) + at_once
    return [first + i * at_once for i in range(cap // at_once - len(axes["seed"]))]


def cells(experiment: Experiment, choices: Choices) -> list[Config]:
    """Every cell of the grid that makes sense, each once; refused before anything runs if a value cannot be."""
    return list(each_cell(experiment, choices))


def each_cell(experiment: Experiment, choices: Choices) -> Iterator[Config]:
    """The same, one at a time: of a hundred thousand, what they mean need not be held."""
    axes = choices.axes(experiment)
    for name in experiment.together:
        axes[name] = [axes[name]]
    choose = cache(choose_estimator)  # of many cells, few estimators
    seen: set[str] = set()
    named: dict[str, str] = {}
    for values in product(*axes.values()):
        config = read_config(experiment, dict(zip(axes, values)), choose)
        for one in config.chosen:
            if named.setdefault(one.series, one.given) != one.given:
                raise UserError(f"estimator: {named[one.series]} and {one.given} would have the same name {one.series}")
        if config.identity not in seen and (experiment.makes_sense is None or experiment.makes_sense(config)):
            seen.add(config.identity)
            yield config


def short(text: str) -> str:
    """A text that may be long, in a few words that no other has."""
    return text if len(text) <= 80 else f"{text[:48]}… ({hashlib.sha256(text.encode()).hexdigest()[:6]})"


def as_list(values: Any) -> list:
    return list(values) if isinstance(values, list | tuple | range) else [values]


def like(name: str, value: Any, defaults: list) -> Any:
    """A value of the type that the axis has, or an error."""
    kinds = {type(default) for default in defaults}
    if type(value) in kinds or (isinstance(value, int) and not isinstance(value, bool) and float in kinds):
        return value
    if kinds == {str}:
        return str(value)
    raise UserError(f"axis {name}: {' or '.join(sorted(k.__name__ for k in kinds))} is needed, got {value!r}")


def parse_setting(text: str) -> tuple[str, list]:
    """ "tau=4,16,64" → ("tau", [4, 16, 64]); what is no Python literal is text."""
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise UserError(f"--set: AXIS=VALUE,VALUE,... is needed, got {text!r}")
    return name.strip(), [literal(value.strip()) for value in apart(values)]


def apart(text: str) -> list[str]:
    """The parts between commas; those within brackets belong to a value, as in "copy(length=8,longest=5),adding"."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
