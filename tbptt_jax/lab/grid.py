"""From axes to cells: what may be overridden, how it is written, and what makes two cells the same."""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from tbptt_jax.errors import choose
from tbptt_jax.estimators.registry import estimators, make_estimator
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.tasks.registry import make_task

Config = dict[str, Any]


def cells(experiment: Experiment, scale: str, overrides: Mapping[str, list] | None = None) -> list[Config]:
    """Every cell of the grid that makes sense, each once, in canonical form; refused before anything runs if a value
    cannot be."""
    axes = {name: as_list(values) for name, values in choose("scale", scale, experiment.axes).items()}
    for name, values in (overrides or {}).items():
        default = choose("axis", name, axes)
        axes[name] = [like(name, value, default) for value in values]
    configs = {identity(experiment, c): c for c in (canonical(dict(zip(axes, v))) for v in product(*axes.values()))}
    return [c for c in configs.values() if experiment.makes_sense is None or experiment.makes_sense(c)]


def as_list(values: Any) -> list:
    return list(values) if isinstance(values, list | tuple | range) else [values]


def like(name: str, value: Any, defaults: list) -> Any:
    """A value of the type that the axis has, or an error."""
    kinds = {type(default) for default in defaults}
    if type(value) in kinds or (isinstance(value, int) and not isinstance(value, bool) and float in kinds):
        return value
    if kinds == {str}:
        return str(value)
    raise ValueError(f"axis {name}: {' or '.join(sorted(k.__name__ for k in kinds))} is needed, got {value!r}")


def parse_setting(text: str) -> tuple[str, list]:
    """ "tau=4,16,64" → ("tau", [4, 16, 64]); what is no Python literal is text."""
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise ValueError(f"--set: AXIS=VALUE,VALUE,... is needed, got {text!r}")
    # commas inside parentheses belong to a value, as in task=copy(length=8,longest=5),adding
    return name.strip(), [literal(value.strip()) for value in re.split(r",(?![^(]*\))", values)]


def literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def canonical(config: Config) -> Config:
    """The one way to write a cell: estimators and tasks in text form, no `tau` where the estimator has a length."""
    config = dict(config)
    if "estimator" in config:
        named = str(config["estimator"]).strip()
        if "(" in named:
            config["estimator"] = named if ".py:" in named else str(make_estimator(named))
            config.pop("tau", None)
        elif choose("estimator", named, estimators()).of_length(config.get("tau", 2)) is None:
            config["estimator"] = str(make_estimator(named))
            config.pop("tau", None)
    if "task" in config and ".py:" not in config["task"]:
        config["task"] = str(make_task(config["task"]))
    return {name: plain(config[name]) for name in sorted(config)}


def plain(value: Any) -> Any:
    """Numbers that are equal are written alike: 4.0 as 4."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def estimator_of(config: Mapping[str, Any]):
    """The estimator of a cell: its text, or its name with the cell's `tau` as its (expected) length."""
    named = config["estimator"]
    return make_estimator(named) if "(" in named else estimators()[named].of_length(config["tau"])


def identity(experiment: Experiment, config: Config) -> str:
    """The name of a cell's record: a hash of the experiment, its version and the canonical configuration."""
    whole = {"experiment": experiment.name, "version": experiment.version, "config": config}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20]


def label(config: Mapping[str, Any], varying: Iterable[str]) -> str:
    """A cell in a few words: what distinguishes it from the others."""
    return ", ".join(f"{name}={config[name]}" for name in varying if name in config)
