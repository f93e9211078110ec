"""Which functions have the types of their arguments and results checked while tests run."""

from typing import Any

from beartype import beartype


def checked(function: Any) -> Any:
    """All but those within functions: they are made anew at every call, and a check costs more to make than to do."""
    return function if "<locals>" in function.__qualname__ else beartype(function)
