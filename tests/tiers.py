"""What `make test` leaves to `make test-all`: further cases of what it shows on a few, and what takes long."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

thorough = pytest.mark.thorough


def cases(every: Iterable, at_once: Callable[[Any], bool]) -> list:
    """All values of a parameter; those that need not be tested at once are thorough."""
    return [value if at_once(value) else pytest.param(value, marks=thorough) for value in every]
