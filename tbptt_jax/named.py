"""Values that a command line can write: frozen dataclasses with a name, found in a registry or in a user's own file.

The text form is the one that `str(value)` gives: `artbp(length=16, alpha=4.0)`, `copy(length=10)`, or
`my_file.py:Mine(keep=0.9)` for a class in a file. Other packages announce their classes by entry points.
"""

import ast
import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from functools import cache, wraps
from importlib.metadata import entry_points
from inspect import isabstract
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, get_type_hints

import numpy as np

from tbptt_jax.errors import UserError, choose
from tbptt_jax.files import import_file
from tbptt_jax.jax_internals import is_traced
from tbptt_jax.pytree import Real, Whole

Kind = TypeVar("Kind", bound="Named")
FORM = "name(length=16, alpha=4.0)"


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
    inside: ClassVar[dict] = {}
    """Of fields that are such values themselves, what reads their text."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()
        own = cls.__dict__.get("__post_init__")
        if own is not None:  # what a class checks itself says more than its annotations do

            @wraps(own)
            def checked(self: Any, *only_for_init: Any) -> None:
                try:
                    own(self, *only_for_init)
                except UserError:
                    raise
                except Exception:
                    require_kinds(self)
                    raise
                require_kinds(self)

            cls.__post_init__ = checked  # type: ignore[method-assign]

    def __post_init__(self, *only_for_init: Any) -> None:
        require_kinds(self)

    def __str__(self) -> str:
        return f"{self.name}({arguments(self)})"

    def require(self, field: str, allowed: str, holds: Any) -> None:
        """Check a hyperparameter, in `__post_init__`; the values of traced ones are not known and pass."""
        value = getattr(self, field)
        if is_traced(value):
            return
        try:
            fine = not isinstance(value, bool) and np.all(holds(np.asarray(value)))
        except TypeError:
            fine = False
        if not fine:
            raise UserError(f"{self.name}: {field} must be {allowed}, got {value!r}")

    def require_whole(self, field: str, minimum: int) -> None:
        several = isinstance(getattr(self, field), tuple | list)

        def holds(value: np.ndarray) -> Any:
            return not several and np.issubdtype(value.dtype, np.integer) and value >= minimum

        self.require(field, f"a whole number of at least {minimum}", holds)


@cache
def kinds_of(cls: type) -> Mapping[str, Any]:
    """What the fields of a class are said to be; nothing where that names what is not there."""
    try:
        return get_type_hints(cls)
    except (NameError, TypeError, AttributeError):
        return {}


def require_kinds(value: Any) -> None:
    """An error where a field holds what is not of its kind: a flag that is no flag, several numbers for one."""
    kinds = kinds_of(type(value))  # type: ignore[arg-type]
    for field in dataclasses.fields(value):
        held, kind, allowed = getattr(value, field.name), kinds.get(field.name), ""
        if held is field.default or is_traced(held):
            continue
        if kind is bool and not isinstance(held, bool | np.bool_) and np.asarray(held).dtype != bool:
            allowed = "True or False"
        elif kind is str and not isinstance(held, str | PathLike):
            allowed = "a text"
        elif kind in (Whole, Real, int, float) and isinstance(held, str | tuple | list | dict | type(None)):
            allowed = "a number"
        elif field.name in value.inside and not isinstance(held, Named | type(None)):
            allowed = f"None, or a {field.name}"
        if allowed:
            raise UserError(f"{value.name}: {field.name} must be {allowed}, got {held!r:.80}")


def arguments(value: Any) -> str:
    """The fields that differ from their defaults, as arguments."""
    return ", ".join(
        f"{field.name}={shown(getattr(value, field.name))}"
        for field in in_order(value)
        if getattr(value, field.name) is not field.default
    )


def shown(value: Any) -> str:
    if is_traced(value):
        return "..."  # a number that is known when the program runs
    return str(value) if isinstance(value, Named) else repr(plain(value))


def in_order(value: Any) -> list[dataclasses.Field]:
    """The fields of a dataclass as they are written: those that only have a name come last."""
    return sorted(dataclasses.fields(value), key=lambda field: field.kw_only is True)


def plain(value: Any) -> Any:
    """A NumPy or JAX scalar as the Python number that text can hold."""
    return value.item() if getattr(value, "shape", None) == () and not is_traced(value) else value


def known(index: Iterable[Any], base: Any, group: str) -> dict[str, type[Kind]]:
    """Classes by name: the concrete subclasses of a base among what an index holds, and those that are announced under
    an entry-point group."""
    built_in = [kind for kind in index if isinstance(kind, type) and issubclass(kind, base) and not isabstract(kind)]
    announced = [point.load() for point in entry_points(group=group)]
    for kind in announced:
        if not (isinstance(kind, type) and issubclass(kind, base)):
            raise TypeError(f"entry point group {group}: a subclass of {base.__name__} is needed, got {kind!r}")
    return {kind.name: kind for kind in (*built_in, *announced)}


class Call(NamedTuple):
    """What a text says: a class, the file that it stands in ("" for a known one), and its arguments if it has any."""

    kind: type[Any]
    file: str
    arguments: tuple[list, dict[str, Any]] | None

    @property
    def prefix(self) -> str:
        """What stands before the name of a class in a file."""
        return f"{self.file}:" if self.file else ""

    def written(self, value: Any) -> str:
        """The text of a value of this class."""
        return f"{self.prefix}{value}" if not self.file else f"{self.prefix}{self.kind.__name__}({arguments(value)})"


def name_in(text: str) -> str:
    """The name of the value that a text describes: `copy` of "copy(length=10)"."""
    return text.partition("(")[0]


def read_call(option: str, text: str, classes: Mapping[str, Any], base: Any) -> Call:
    """What a text such as "segment(tau=8)", "segment" or "my_file.py:Mine" says; nothing is evaluated."""
    if not isinstance(text, str):
        raise UserError(f"{option}: a text such as {FORM!r} is needed, got {text!r:.80}")
    path, colon, call = text.strip().rpartition(".py:")
    name, given = parse_call(option, call if colon else text)
    file = f"{path}.py" if colon else ""
    return Call(choose(option, name, classes_in_file(option, Path(file), base) if colon else classes), file, given)


def make(option: str, text: str, classes: Mapping[str, type[Kind]], base: Any) -> Kind:
    """The value that a text describes: of a known class, or of one in a file."""
    return made(option, read_call(option, text, classes, base))


def made(option: str, call: Call) -> Any:
    """The value of a call; one without arguments takes the defaults."""
    args, kwargs = call.arguments or ([], {})
    readers = call.kind.inside
    kwargs |= {name: read(kwargs[name]) for name, read in readers.items() if isinstance(kwargs.get(name), str)}
    for value in (*args, *kwargs.values()):
        if isinstance(value, Inner):  # of a field that holds no such value
            raise UserError(f"{option}: a form like {FORM} is needed, got {call.kind.name}(... {value} ...)")
    try:
        inspect.signature(call.kind).bind(*args, **kwargs)
    except TypeError as error:  # a missing, surplus or misspelt argument
        given = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
        text = f"{call.prefix}{call.kind.name}({given})"
        raise UserError(f"{option}: {text!r} does not fit {signature(call.kind)}: {error}") from error
    return call.kind(*args, **kwargs)


def parse_call(option: str, text: str) -> tuple[str, tuple[list, dict[str, Any]] | None]:
    """The name of a call, and its arguments and keyword arguments, which are literals; None for a name alone."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, None
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise ValueError
        kwargs = {str(keyword.arg): argument(keyword.value) for keyword in node.keywords}
        return node.func.id, ([argument(arg) for arg in node.args], kwargs)
    except (SyntaxError, ValueError):
        raise UserError(f"{option}: a form like {FORM} is needed, got {text!r}") from None


class Inner(str):
    """The text of an argument that is a call itself."""


def argument(node: ast.expr) -> Any:
    return Inner(ast.unparse(node)) if isinstance(node, ast.Call) else ast.literal_eval(node)


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
        for field in in_order(kind)
    ]
    return f"{kind.name}({', '.join(shown)})"


def summary(kind: type[Named]) -> str:
    """The first line of a class's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0]
