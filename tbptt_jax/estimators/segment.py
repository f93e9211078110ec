"""Regular truncation: the sequence in segments, each backpropagated on its own."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from tbptt_jax.estimators.base import GatedEstimator
from tbptt_jax.estimators.pytree import Whole
from tbptt_jax.gradients.cuts import Blocks


@dataclass(frozen=True)
class Segment(GatedEstimator):
    """Segments of tau steps, each backpropagated on its own.

    gate_t = 0 before the first step of a segment, else 1. The first segment ends after `offset` steps (0: after tau).
    An offset of "random" is drawn uniformly from 0..tau−1, and then the mean is Σ_k max(0, 1 − k/tau) G_k. Exact once
    tau is at least T. A tau that is known when the program is traced lets the segments run side by side.
    """

    tau: Whole
    offset: int | str = field(default=0, metadata={"static": True})
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Jaeger 2002, A tutorial on training recurrent neural networks"

    def __post_init__(self):
        self.require_whole("tau", 1)
        if self.offset != "random":
            if isinstance(self.offset, str):
                raise ValueError(f'segment: offset must be a whole number or "random", got {self.offset!r}')
            self.require_whole("offset", 0)

    def first(self, key):
        """The length of the first segment, in 0..tau−1; 0 stands for a whole one."""
        if self.offset == "random":
            return jax.random.randint(self.require_key(key), (), 0, self.tau)
        return self.offset % self.tau

    def gates(self, key, length, batch_size):
        step = jnp.arange(length)
        cuts = ((step - self.first(key)) % self.tau == 0) & (step > 0)
        return jnp.broadcast_to(1.0 - cuts[:, None], (length, batch_size))

    def cut(self, key, length, batch_size):
        if not isinstance(self.tau, int):
            return super().cut(key, length, batch_size)
        first = self.first(key)
        tau = min(self.tau, length)
        if isinstance(first, int) and first == 0:
            return Blocks(tau, tau)
        return Blocks(tau, tau, jnp.minimum(first, length), whole=False)
