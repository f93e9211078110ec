"""What the words of a command line mean: a grid, a file of more words, a size in bytes."""

import argparse
import tomllib
from typing import Any

from tbptt_jax.errors import UserError, choose


def choices_of(given: argparse.Namespace) -> dict[str, Any]:
    """The words of a grid, as `lab.grid.Choices` takes them."""
    return {
        "scale": given.scale or "default",
        "settings": given.set,
        "estimators": given.estimator,
        "added_estimators": given.add_estimator,
        "tasks": given.task,
        "seeds": given.seeds,
    }


def asked_for(given: argparse.Namespace) -> Any:
    """The grid that was asked for; None where no word speaks of one: then the latest that was run is meant."""
    from tbptt_jax.lab.grid import Choices

    words = choices_of(given)
    return Choices(**words) if given.scale or any(value for name, value in words.items() if name != "scale") else None


def in_bytes(text: str) -> int:
    """ "4G" as a number of bytes."""
    number, unit = (text[:-1], text[-1]) if text[-1:].isalpha() else (text, "")
    factors = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    try:
        size = float(number) * factors[unit.upper()]
    except (ValueError, KeyError):
        size = 0.0
    if not 0 < size < float("inf"):
        raise UserError(f"--memory: a size such as 4G or 500M is needed, got {text!r}")
    return int(size)


def in_inches(text: str) -> float:
    """ "3.25in", "8cm" or "80mm" as a number of inches."""
    units = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4}
    try:
        size = float(text[:-2]) * units[text[-2:]]
    except (ValueError, KeyError):
        size = 0.0
    if not 0.5 <= size <= 100:
        raise UserError(f"--width: a size such as 3.25in, 8cm or 80mm is needed, got {text!r}")
    return size


def from_file(given: argparse.Namespace) -> None:
    """Take the words of a TOML file where the command line says nothing else: scale, seeds, estimator,
    add_estimator, task, jobs, devices, scheduler, slurm, timeout, memory, and a table `set` of axes."""
    try:
        words = tomllib.loads(given.config.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config: {given.config} cannot be read: {error}") from error
    known = {
        "scale": str,
        "seeds": int,
        "estimator": list,
        "add_estimator": list,
        "task": list,
        "jobs": int,
        "devices": int,
        "scheduler": str,
        "slurm": str,
        "timeout": float,
        "memory": str,
        "set": dict,
    }
    for name, value in words.items():
        kind = choose(f"--config {given.config}", name, known)
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise UserError(f"--config {given.config}: {name} must be of type {kind.__name__}, got {value!r}")
    for name in known.keys() - {"set"} & words.keys():
        if not getattr(given, name):
            setattr(given, name, float(words[name]) if known[name] is float else words[name])
    overridden = {text.partition("=")[0].strip() for text in given.set}
    for axis, values in words.get("set", {}).items():
        if axis not in overridden:
            given.set.append(f"{axis}=" + ",".join(map(str, values if isinstance(values, list) else [values])))
