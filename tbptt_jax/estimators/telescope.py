"""Randomized telescopes: windows of growing horizons, of which a random one is computed, and reweighted."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Truncation
from tbptt_jax.gradients.cuts.kinds import Lags
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class Telescope(Truncation):
    """With g_n the gradient of a window of H_n lags and Δ_n = g_n − g_{n−1}: g_0 and some of the Δ_n, reweighted.

    Horizons are first, first·base, first·base², ... and at last T. Russian roulette: g_0 + Σ_{1≤n≤N} Δ_n / P(N ≥ n). A
    single sample: g_0 + Δ_N / q(N). P(N ≥ n) is keep^n, and q(n) proportional to it; or they are `chances`, for
    n = 1, 2, ... One N is drawn for all sequences of a batch, so that it costs the J-products of H_N lags.
    """

    keep: Real = 0.5
    first: int = field(default=1, metadata={"static": True})
    base: int = field(default=2, metadata={"static": True})
    single: bool = False
    chances: tuple | None = None
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = (
        "Beatson & Adams 2019, Efficient optimization of loops and limits with randomized telescoping"
    )

    def __post_init__(self):
        self.require("keep", "a number above 0 and at most 1", lambda keep: (keep > 0) & (keep <= 1))
        self.require_whole("first", 1)
        self.require_whole("base", 2)
        if self.chances is not None:
            try:
                values = np.atleast_1d(np.asarray(self.chances, float))
            except (TypeError, ValueError):
                values = np.array([np.nan])
            falls = self.single or bool(np.all(np.diff(values) <= 0))
            if not (np.ndim(self.chances) == 1 and np.all((values > 0) & (values <= 1)) and falls):
                words = "probabilities above 0" if self.single else "probabilities above 0 that do not rise, P(N ≥ n)"
                raise UserError(f"telescope: chances must be {words}, got {self.chances!r}")

    def horizons(self, length: int) -> list[int]:
        """H_0 < H_1 < ... = T."""
        found = [min(self.first, length)]
        while found[-1] < length:
            found.append(min(found[-1] * self.base, length))
        return found

    def probabilities(self, levels: int) -> Float[Array, " N"]:
        """P(N ≥ n), or q(n), for n = 1..levels."""
        if self.chances is None:
            tail = self.keep ** jnp.arange(1, levels + 1)
        elif len(self.chances) != levels:
            raise UserError(f"telescope: chances must be of length {levels}, got {len(self.chances)} of them")
        else:
            tail = jnp.asarray(self.chances, float)
        return tail / jnp.sum(tail) if self.single else tail

    def draw(self, key: Array, levels: int) -> Array:
        """N: 0..levels in the roulette, 1..levels for a single sample."""
        chances, uniform = self.probabilities(levels), jax.random.uniform(key)
        if self.single:
            return 1 + jnp.minimum(jnp.sum(uniform >= jnp.cumsum(chances)), levels - 1)
        return jnp.sum(uniform < chances)

    def at_level(self, n: Array | int, length: int) -> Lags:
        """The estimate where N is n, as a cut."""
        horizons = np.array(self.horizons(length))
        level = np.searchsorted(horizons, np.arange(length), side="right")  # of each lag
        chances = jnp.concatenate([jnp.ones(1), self.probabilities(len(horizons) - 1)])
        taken = (level == n) | (level == 0) if self.single else level <= n
        return Lags(jnp.asarray(horizons)[n], taken / chances[level])

    def cut(self, key: Array | None, length: int, batch_size: int | None):
        levels = len(self.horizons(length)) - 1
        if not levels:
            return Lags(length)
        return self.at_level(self.draw(self.require_key(key), levels), length)
