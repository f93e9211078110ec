"""The one exception that is the user's to mend; its messages name the option, the value given and those allowed."""

import difflib
from collections.abc import Mapping
from numbers import Integral
from typing import Any


class UserError(ValueError):
    """Something that was asked for cannot be: its message says what to write instead. The command line prints it in one
    line; every other exception is a defect, and keeps its traceback."""


class Stopped(UserError):
    """A run cannot go on, for a reason outside its cells: what was recorded is kept, and the same command goes on."""


def require_count(option: str, value: Any, minimum: int = 1) -> int:
    """A whole number, of Python's or another library's, as Python's."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise UserError(f"{option}: a whole number of at least {minimum} is needed, got {value!r:.80}")
    return int(value)


def choose(option: str, name: str, allowed: Mapping[str, Any]) -> Any:
    """The value of a name, or an error that lists the nearest names and all the others."""
    if name in allowed:
        return allowed[name]
    nearest = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    raise UserError(f"{option}: unknown name {name!r}.{hint} Known: {', '.join(sorted(allowed))}")
