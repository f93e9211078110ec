"""Values that a command line can write: frozen dataclasses with a name, found in a registry or in a user's own file.

The text form is the one that `str(value)` gives: `artbp(length=16, alpha=4.0)`, `copy(length=10)`, or
`my_file.py:Mine(keep=0.9)` for a class in a file. Other packages announce their classes by entry points.
"""

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import numpy as np

from tbptt_jax.errors import choose
from tbptt_jax.files import import_file

Kind = TypeVar("Kind", bound="Named")


class Finding(NamedTuple):
    """What `tbptt check` says of a value: a sentence, whether it holds (None: not promised), and what was seen."""

    sentence: str
    held: bool | None
    detail: str = ""


class Named:
    """What estimators and tasks share: a name, a text form, and hyperparameters that are checked by name."""

    name: ClassVar[str]
    """The name in text; the class's own in lower case unless given."""
    reference: ClassVar[str] = ""
    """Where it comes from."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()

    def __str__(self) -> str:
        given = (
            f"{field.name}={plain(getattr(self, field.name))!r}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) is not field.default
        )
        return f"{self.name}({', '.join(given)})"

    def require(self, field: str, allowed: str, holds: Any) -> None:
        """Check a hyperparameter, in `__post_init__`; the values of traced ones are not known and pass."""
        value = getattr(self, field)
        if isinstance(value, jax.core.Tracer):
            return
        try:
            fine = not isinstance(value, bool) and np.all(holds(np.asarray(value)))
        except TypeError:
            fine = False
        if not fine:
            raise ValueError(f"{self.name}: {field} must be {allowed}, got {value!r}")

    def require_whole(self, field: str, minimum: int) -> None:
        def holds(value):
            return np.issubdtype(value.dtype, np.integer) and value >= minimum

        self.require(field, f"a whole number of at least {minimum}", holds)


def plain(value: Any) -> Any:
    """A NumPy or JAX scalar as the Python number that text can hold."""
    return value.item() if getattr(value, "shape", None) == () and not isinstance(value, jax.core.Tracer) else value


def known(built_in: Iterable[type[Kind]], base: type, group: str) -> dict[str, type[Kind]]:
    """Classes by name: the built-in ones, and those announced under an entry-point group."""
    announced = [point.load() for point in entry_points(group=group)]
    for kind in announced:
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise TypeError(f"entry point group {group}: a subclass of {base.__name__} is needed, got {kind!r}")
    return {kind.name: kind for kind in (*built_in, *announced)}


def make(option: str, text: str, classes: Mapping[str, type[Kind]], base: type) -> Kind:
    """The value that a text describes: of a known class, or of one in a file."""
    path, colon, call = text.rpartition(".py:")
    name, args, kwargs = parse_call(option, call if colon else text)
    kind = choose(option, name, classes_in_file(option, Path(path.strip() + ".py"), base) if colon else classes)
    try:
        return kind(*args, **kwargs)
    except TypeError as error:  # a missing, surplus or misspelt argument
        raise ValueError(f"{option}: {text!r} does not fit {signature(kind)}: {error}") from error


def parse_call(option: str, text: str) -> tuple[str, list, dict]:
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
        raise ValueError(f"{option}: a form like name(length=16, alpha=4.0) is needed, got {text!r}") from None


def classes_in_file(option: str, path: Path, base: type) -> dict[str, Any]:
    """The subclasses of a class that a Python file defines, by class name."""
    module = import_file(option, path)
    members = vars(module).items()
    return {
        name: kind
        for name, kind in members
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
    }


def signature(kind: type[Named]) -> str:
    """The text form of a class: its name and its fields, with the defaults they have."""
    shown = [
        field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default!r}"
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    ]
    return f"{kind.name}({', '.join(shown)})"


def summary(kind: type[Named]) -> str:
    """The first line of a class's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0]
