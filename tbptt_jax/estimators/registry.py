"""Estimators by name: the built-in ones, those that other packages announce, and those in a user's own file.

A package announces its classes under the entry-point group `tbptt_jax.estimators`. The text form is the one that
`str(est)` gives: `artbp(length=16, alpha=4.0)`, or `my_file.py:Mine(keep=0.9)` for a class in a file.
"""

import ast
import dataclasses
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from tbptt_jax.errors import choose
from tbptt_jax.estimators.artbp import ARTBP
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.buffered import Buffered
from tbptt_jax.estimators.full import Full
from tbptt_jax.estimators.randomized import Geometric, Randomized
from tbptt_jax.estimators.segment import Segment
from tbptt_jax.estimators.window import Window
from tbptt_jax.files import import_file

BUILT_IN = (Full, Segment, Window, Buffered, Randomized, Geometric, ARTBP)
GROUP = "tbptt_jax.estimators"


@cache
def estimators() -> dict[str, type[Estimator]]:
    """Every registered class by its name."""
    announced = [point.load() for point in entry_points(group=GROUP)]
    for kind in announced:
        if not (isinstance(kind, type) and issubclass(kind, Estimator)):
            raise TypeError(f"entry point group {GROUP}: a subclass of Estimator is needed, got {kind!r}")
    return {kind.name: kind for kind in (*BUILT_IN, *announced)}


def make_estimator(text: str) -> Estimator:
    """The estimator that a text such as "segment(tau=8)" or "my_file.py:Mine(keep=0.9)" describes."""
    path, colon, call = text.rpartition(".py:")
    name, args, kwargs = parse_call(call if colon else text)
    if colon:
        kind = choose("estimator", name, classes_in_file(Path(path + ".py")))
    else:
        kind = choose("estimator", name, estimators())
    try:
        return kind(*args, **kwargs)
    except TypeError as error:  # a missing, surplus or misspelt argument
        raise ValueError(f"estimator: {text!r} does not fit {signature(kind)}: {error}") from error


def parse_call(text: str) -> tuple[str, list, dict]:
    """Name, arguments and keyword arguments of a call whose arguments are literals; nothing is evaluated."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise ValueError
        kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
        return node.func.id, [ast.literal_eval(arg) for arg in node.args], kwargs
    except (SyntaxError, ValueError):
        raise ValueError(f"estimator: a form like artbp(length=16, alpha=4.0) is needed, got {text!r}") from None


def classes_in_file(path: Path) -> dict[str, type[Estimator]]:
    """The estimator classes that a Python file defines, by class name."""
    module = import_file("estimator", path)
    members = vars(module).items()
    return {
        name: kind
        for name, kind in members
        if isinstance(kind, type) and issubclass(kind, Estimator) and kind.__module__ == module.__name__
    }


def signature(kind: type[Estimator]) -> str:
    """The text form of a class: its name and its fields, with the defaults they have."""
    shown = [
        field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default!r}"
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    ]
    return f"{kind.name}({', '.join(shown)})"
