"""What `make test` leaves to `make test-all`: further cases of what it shows on a few, and what takes long."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest

thorough = pytest.mark.thorough


def cases(every: Iterable, at_once: Collection | Callable[[Any], bool]) -> list:
    """All values of a parameter, or tuples of the values of several. Those that are not `at_once`, or for which it says
    no, are marked as thorough; a tuple is never the value of one parameter."""
    is_at_once = at_once if callable(at_once) else at_once.__contains__

    def later(value: Any) -> Any:
        return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=thorough)

    return [value if is_at_once(value) else later(value) for value in every]
