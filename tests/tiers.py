"""What `make test` leaves to `make test-all`: further cases of what it shows on a few, and what takes long."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

thorough = pytest.mark.thorough


def cases(every: Iterable, at_once: Callable[[Any], bool]) -> list:
    """All values of a parameter, or tuples of values of several; those that need not be tested at once are thorough."""

    def later(value: Any) -> Any:
        return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=thorough)

    return [value if at_once(value) else later(value) for value in every]
