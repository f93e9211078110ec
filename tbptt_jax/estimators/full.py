"""Full backpropagation through time: every loss reaches back to the first step of its chunk."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Fixed
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.gradients.cuts.schedule import kept


@dataclass(frozen=True)
class Full(GatedEstimator):
    """Nothing is cut: gate_t = 1. `full(states=16)` is the same with 16 states kept at once at most."""

    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "Werbos 1990, Backpropagation through time: what it does and how to do it"

    def gates(self, key: Array | None, length: int, batch_size: int):
        return jnp.ones((length, batch_size))

    def cut(self, key: Array | None, length: int, batch_size: int | None, **seen: PyTree):
        return Gates(None, states=kept(self.states, length))  # nothing to multiply by

    def law(self, length: int):
        return Fixed()
