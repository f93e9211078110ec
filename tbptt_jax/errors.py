"""Messages that name the option, the value given and the values allowed."""

import difflib
from collections.abc import Mapping
from typing import Any


def choose(option: str, name: str, allowed: Mapping[str, Any]) -> Any:
    """The value of a name, or an error that lists the nearest names and all the others."""
    if name in allowed:
        return allowed[name]
    nearest = difflib.get_close_matches(str(name), allowed, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    raise ValueError(f"{option}: unknown name {name!r}.{hint} Known: {', '.join(sorted(allowed))}")
