"""The floating-point leaves of a pytree: the only ones that credit flows through."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def floats(tree: PyTree) -> list:
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def with_floats(tree: PyTree, values: Any, others=lambda leaf: leaf):
    """The tree with its floating-point leaves replaced by values, in order, and `others` applied to the rest."""
    values = iter(values)
    return jax.tree.map(lambda leaf: next(values) if is_float(leaf) else others(leaf), tree)
