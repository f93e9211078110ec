"""Estimators by name: those of the index, those that other packages announce, and those in a user's own file."""

from functools import cache

from tbptt_jax.estimators.base import Estimator
from tbptt_jax.named import known, make


@cache
def all_estimators() -> dict[str, type[Estimator]]:
    """Every registered class by its name; packages announce theirs under the entry points `tbptt_jax.estimators`."""
    from tbptt_jax import estimators

    return known(vars(estimators).values(), Estimator, "tbptt_jax.estimators")


def make_estimator(text: str) -> Estimator:
    """The estimator that a text describes.

    Args:
        text: Such as "segment(tau=8)" or "my_file.py:Mine(keep=0.9)".

    Returns:
        The estimator.
    """
    return make("estimator", text, all_estimators(), Estimator)
