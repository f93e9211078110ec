"""The leaves of trees: the floating-point ones, through which alone credit flows; keys; a state's, a step earlier."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError


def is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def is_key(leaf: Any) -> bool:
    """Whether an array is one of keys, with which nothing is computed."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def require_random_key(key: Any) -> None:
    """A key of `jax.random`, of the new kind or the old, and not a seed or nothing."""
    is_old = isinstance(key, jax.Array | np.ndarray) and key.dtype == np.uint32 and key.ndim > 0
    if not is_old and not (isinstance(key, jax.Array) and is_key(key)):
        raise UserError(f"key: a key such as jax.random.key(0) is needed, got {key!r:.80}")


def all_finite(tree: PyTree) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def floats(tree: PyTree) -> list:
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def with_floats(tree: PyTree, values: Any, others: Callable[[Any], Any] = lambda leaf: leaf):
    """The tree with its floating-point leaves replaced by values, in order, and `others` applied to the rest."""
    values = iter(values)
    return jax.tree.map(lambda leaf: next(values) if is_float(leaf) else others(leaf), tree)


def before_each(start: PyTree, after: PyTree) -> PyTree:
    """The states that the steps start from, leaves `[T, ...]`: the first, and those after all steps but the last."""
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), start, after)
