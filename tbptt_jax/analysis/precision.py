"""What is called exact asks for exact matrix products, whatever an accelerator does by default."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax


def exactly(function: Callable) -> Callable:
    """The function, its matrix products in the highest precision of the device: not in TF32 or bfloat16."""

    @wraps(function)
    def in_highest_precision(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return in_highest_precision
