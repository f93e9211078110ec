"""Which loss sees which earlier step, and how much of its credit gets there."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tbptt_jax.gradients.cuts.scan import scan


def reach(truncation: Any, length: int, key: Array | None = None) -> Float[Array, "T T"]:
    """The factor on the credit that the loss of step t (row) gives to step s (column): 1 where nothing is cut, 0 where
    it is; one draw of a truncation that is random."""

    def states(xs: Array) -> Array:  # each passes on what it has, so that only the cuts are seen
        return scan(lambda h, x: (h + x, h + x), jnp.zeros(()), xs, truncation=truncation, key=key)[1]

    return jax.jacrev(states)(jnp.zeros(length))
