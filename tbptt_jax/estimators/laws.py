"""How an estimator's gates are distributed: what exact expectations and variances are computed from."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Fixed(NamedTuple):
    """Nothing is drawn: the estimate is its own expectation."""


class Independent(NamedTuple):
    """gate_t is drawn anew at every step, with this mean and variance."""

    mean: Float[Array, " T"]
    variance: Float[Array, " T"]


class Renewal(NamedTuple):
    """Segments of independent random lengths. A segment that has lasted d steps is cut with probability cut[d − 1],
    and else its gate is kept[d − 1]. The first segment starts with the sequence."""

    cut: Float[Array, " T"]
    kept: Float[Array, " T"]

    def mean_length(self) -> Float[Array, ""]:
        """E[min(length of a segment, T)] = Σ_{d < T} P(a segment is longer than d)."""
        return 1 + jnp.sum(jnp.cumprod(1 - self.cut[:-1]))


class Patterns(NamedTuple):
    """One of M patterns of gates, shared by all sequences, with these probabilities."""

    gates: Float[Array, "M T"]
    probabilities: Float[Array, " M"]


class Noise(NamedTuple):
    """What the chunks of a stream share when an estimator perturbs the parameters in each of them."""

    particles: int
    """How many noises are drawn side by side, each for a pair of runs."""
    kept_for: int | None
    """How many chunks one noise serves; None: all of them."""
    carried: bool
    """Whether perturbed states go on into the next chunk."""


Law = Fixed | Independent | Renewal | Patterns
