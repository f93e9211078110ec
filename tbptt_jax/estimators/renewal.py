"""Truncation into segments of independent random lengths: a cut looks only at how long its segment has lasted."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from tbptt_jax.estimators.base import Pace
from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Renewal


@dataclass(frozen=True)
class RenewalEstimator(GatedEstimator):
    """Cut a segment that has lasted d steps with probability c_d; else the gate is 1/(1 − c_d).

    A subclass says c_d in `cut_probability` and has a field `shared`: whether all sequences are cut at the same steps.
    """

    unbiased: ClassVar[str] = "chunk"

    @abstractmethod
    def cut_probability(self, age: Any) -> Any:
        """c_d for a segment that has lasted d = age steps, below 1."""

    @property
    def updates_at_cuts(self) -> bool:  # type: ignore[override]
        """True without a reach; with one, chunks have one length, and losses look back across them."""
        return not self.reach

    def pace(self, chunk: int):
        """One update a random segment, of 4 times the mean length at most, beyond which credit is lost; with a reach,
        as others are."""
        mean = self.nominal_length
        if self.reach or mean is None:
            return super().pace(chunk)
        longest = min(chunk, math.ceil(4 * mean))
        return Pace(longest, float(self.law(longest).mean_length()))

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
