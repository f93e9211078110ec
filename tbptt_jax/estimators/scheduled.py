"""Randomized truncation with a schedule: a keep probability of its own for every step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Independent
from tbptt_jax.jax_internals import is_traced


@dataclass(frozen=True)
class Scheduled(GatedEstimator):
    """Cut at random before each step with a probability of its own, and reweight where not.

    gate_t = 1/keeps[t] with probability keeps[t], else 0. `exact.optimal_keeps` gives the keeps `[T]` of least variance
    for a batch; `optimal` estimates them as it goes.
    """

    keeps: Any
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "this package"

    def __post_init__(self):
        self.require(
            "keeps", "numbers above 0 and at most 1", lambda keeps: keeps.ndim == 1 and (keeps > 0) & (keeps <= 1)
        )
        if not is_traced(self.keeps):
            object.__setattr__(self, "keeps", tuple(np.asarray(self.keeps, float).tolist()))

    def probabilities(self, length: int) -> Float[Array, " T"]:
        """The keeps, after a check of their number."""
        keeps = jnp.asarray(self.keeps, float)
        if keeps.shape != (length,):
            raise UserError(f"scheduled: keeps must be of shape [{length}], got {list(keeps.shape)}")
        return keeps

    def gates(self, key: Array | None, length: int, batch_size: int):
        return drawn(self.require_key(key), self.probabilities(length), batch_size)

    def law(self, length: int):
        return Independent(jnp.ones(length), 1 / self.probabilities(length) - 1)


def drawn(key: Array, keeps: Float[Array, " T"], batch_size: int) -> Float[Array, "T B"]:
    """1/keeps[t] with probability keeps[t], else 0, drawn apart for every sequence."""
    uniform = jax.random.uniform(key, (len(keeps), batch_size))
    return jnp.where(uniform < keeps[:, None], 1 / keeps[:, None], 0.0)
