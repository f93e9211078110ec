"""Which functions have the arrays among their arguments and results checked while tests run: those that say shapes.

Plain types are mypy's, which runs nothing. Functions within functions are not checked: they are made anew at every
call, and a check costs more to make than to do.
"""

import re
from collections.abc import Callable
from typing import Any

import jaxtyping

SHAPED = re.compile(r"\b(Float|Int|Bool|Key|Num|Shaped)\[")
every = jaxtyping.jaxtyped


def says_shapes(given: Any) -> bool:
    """Whether a function, a property or a dataclass has an annotation such as Float[Array, "T B"]."""
    for inner in ("__func__", "fget"):
        given = getattr(given, inner, given)
    if "<locals>" in given.__qualname__:
        return False
    return any(SHAPED.search(str(annotation)) for annotation in getattr(given, "__annotations__", {}).values())


def where_shapes_are_said(*, typechecker: Any) -> Callable:
    """In the place of `jaxtyping.jaxtyped`, with which the import hook decorates all there is."""
    decorate = every(typechecker=typechecker)
    return lambda given: decorate(given) if says_shapes(given) else given


jaxtyping.jaxtyped = where_shapes_are_said
