"""Running means over the chunks of a stream."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.pytree import Real


def running_mean(mean: PyTree, now: PyTree, chunks: Array, memory: Real) -> PyTree:
    """A mean over `chunks` chunks and one more: the plain mean at first, later one that leaves `memory` of the past."""
    old = jnp.minimum(memory, chunks / (chunks + 1.0))
    return jax.tree.map(lambda before, new: old * before + (1 - old) * new, mean, now)
