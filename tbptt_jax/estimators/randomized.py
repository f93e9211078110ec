"""Randomized truncation, the chapter's ξ_t: cut at random, and make up for it where not."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Independent
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class Randomized(GatedEstimator):
    """Cut at random, and reweight where not.

    gate_t = 1/keep with probability keep, else 0: independent over steps, and over sequences unless shared. The mean is
    the full gradient; the variance grows as keep falls.
    """

    keep: Real
    shared: bool = False
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"

    def __post_init__(self):
        self.require("keep", "a number above 0 and at most 1", lambda keep: (keep > 0) & (keep <= 1))

    @classmethod
    def of_length(cls, tau: int | float):
        return cls(1 - 1 / tau)

    @property
    def nominal_length(self):
        return mean_length(self.keep)

    def gates(self, key: Array | None, length: int, batch_size: int):
        return kept(self.require_key(key), self.keep, length, batch_size, self.shared) / self.keep

    def law(self, length: int):
        return Independent(jnp.ones(length), jnp.full(length, 1 / self.keep - 1))


@dataclass(frozen=True)
class Geometric(GatedEstimator):
    """Cut at random, without reweighting.

    gate_t = 1 with probability keep, else 0; the mean is Σ_k keep^k G_k.
    """

    keep: Real
    shared: bool = False
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "segments of geometrically distributed length, not reweighted"

    def __post_init__(self):
        self.require("keep", "a number from 0 to 1", lambda keep: (keep >= 0) & (keep <= 1))

    @classmethod
    def of_length(cls, tau: int | float):
        return cls(1 - 1 / tau)

    @property
    def nominal_length(self):
        return mean_length(self.keep)

    def gates(self, key: Array | None, length: int, batch_size: int):
        return kept(self.require_key(key), self.keep, length, batch_size, self.shared)

    def law(self, length: int):
        return Independent(jnp.full(length, self.keep), jnp.full(length, self.keep * (1 - self.keep)))


def mean_length(keep: Real) -> Real | None:
    """Of segments that each step goes on with probability keep; None where they never end."""
    return None if keep == 1 else 1 / (1 - keep)


def kept(key: Array, keep: Real, length: int, batch_size: int, shared: bool):
    """1 with probability keep, else 0: `[T, B]`, one column for all sequences where shared."""
    uniform = jax.random.uniform(key, (length, 1 if shared else batch_size))
    return jnp.broadcast_to(uniform < keep, (length, batch_size)).astype(float)
