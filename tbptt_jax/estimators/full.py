"""Full backpropagation through time: every loss reaches back to the first step of its chunk."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from tbptt_jax.estimators.base import GatedEstimator
from tbptt_jax.estimators.laws import Fixed
from tbptt_jax.gradients.cuts import Gates


@dataclass(frozen=True)
class Full(GatedEstimator):
    """Nothing is cut: gate_t = 1."""

    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "Werbos 1990, Backpropagation through time: what it does and how to do it"

    def gates(self, key, length, batch_size):
        return jnp.ones((length, batch_size))

    def cut(self, key, length, batch_size):
        return Gates(None)  # nothing to multiply by

    def law(self, length):
        return Fixed()
