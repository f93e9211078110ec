"""Anticipated reweighted truncated backpropagation: cut less and less readily as a segment grows."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from tbptt_jax.estimators.base import Pace
from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Renewal
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class ARTBP(GatedEstimator):
    """Cut at random, less readily as a segment grows, and reweight where not.

    Cut with probability c_d = alpha / ((alpha − 1) length + d), d the steps since the last cut; else gate 1/(1 − c_d).

    The segments' mean length is `length`; P(a segment is longer than d) falls like d^−alpha, and the variance of the
    length is finite where alpha > 2. Cuts are independent over sequences unless shared. Its mean is the full gradient.
    """

    length: Real
    alpha: Real = 4.0
    shared: bool = False
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"

    def __post_init__(self):
        self.require("length", "a number above 1", lambda length: length > 1)
        self.require("alpha", "a number above 1", lambda alpha: alpha > 1)

    @classmethod
    def of_length(cls, tau: int | float):
        return cls(tau)

    @property
    def updates_at_cuts(self) -> bool:  # type: ignore[override]
        """In a stream; with a reach, cuts lie in chunks of one length, and losses look across."""
        return not self.reach

    @property
    def nominal_length(self):
        return self.length

    def pace(self, chunk: int):
        """One update a random segment, of 4 times the mean length at most, beyond which credit is lost; with a reach,
        as others are."""
        if self.reach:
            return super().pace(chunk)
        longest = min(chunk, math.ceil(4 * self.length))
        return Pace(longest, float(self.law(longest).mean_length()))

    def cut_probability(self, age: Any):
        """c_d for a segment that has lasted d = age steps."""
        return self.alpha / ((self.alpha - 1) * self.length + age)

    def gates(self, key: Array | None, length: int, batch_size: int):
        draws = jax.random.uniform(self.require_key(key), (length - 1, 1 if self.shared else batch_size))

        def draw(age, uniform):
            probability = self.cut_probability(age)
            cut = uniform < probability
            return jnp.where(cut, 1, age + 1), jnp.where(cut, 0, 1 / (1 - probability))

        _, gates = lax.scan(draw, jnp.ones(draws.shape[1:], int), draws)
        return jnp.broadcast_to(
            jnp.concatenate([jnp.ones_like(draws[:1], shape=(1, draws.shape[1])), gates]), (length, batch_size)
        )

    def law(self, length: int):
        cut = self.cut_probability(jnp.arange(1.0, length + 1))
        return Renewal(cut, 1 / (1 - cut))
