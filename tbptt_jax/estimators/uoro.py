"""Unbiased online recurrent optimization: the influence as one random outer product."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class UORO(InfluenceEstimator):
    """Carry M ≈ s̃ θ̃ᵀ, unbiased by random signs: s̃ ← ρ0 J s̃ + ρ1 ν, θ̃ ← θ̃/ρ0 + νᵀF/ρ1, ν of ±1.

    ρ0 = √(‖θ̃‖/‖J s̃‖) and ρ1 = √(‖νᵀF‖/‖ν‖) balance the two factors; `epsilon` is added to each norm. One jvp and one
    vjp a step, H + P numbers a sequence; with `rank` r it is the mean of r such products, drawn apart.
    """

    epsilon: Real = 1e-7
    rank: int = field(default=1, metadata={"static": True})
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"

    def __post_init__(self):
        self.require("epsilon", "a number above 0", lambda epsilon: epsilon > 0)
        self.require_whole("rank", 1)

    def start(self, dynamics: Dynamics):
        dtype = dynamics.params.dtype
        return jnp.zeros((self.rank, dynamics.hidden), dtype), jnp.zeros((self.rank, dynamics.weights), dtype)

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        shape = (*shape, self.rank, dynamics.hidden)
        return jax.random.rademacher(self.require_key(key), shape, dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        s, theta = influence
        return jax.vmap(partial(self.advance_one, step))(s, theta, noise)

    def advance_one(self, step: Any, s: Array, theta: Array, noise: Array) -> tuple[Array, Array]:
        """One product."""
        pushed, pulled = step.push(s), step.pull(noise)
        rho_0 = balance(theta, pushed, self.epsilon)
        rho_1 = balance(pulled, noise, self.epsilon)
        return rho_0 * pushed + rho_1 * noise, theta / rho_0 + pulled / rho_1

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        s, theta = influence
        return (s @ e) @ theta / self.rank


@dataclass(frozen=True)
class NoBackTrack(UORO):
    """UORO with a balance of its own for every unit: s̃ ← ρ0 J s̃ + ρ ⊙ ν, θ̃ ← θ̃/ρ0 + (ν/ρ)ᵀF, ρ_i = √‖F_i‖.

    It needs F row by row: H vjps a step.
    """

    name: ClassVar[str] = "nobacktrack"
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Ollivier, Tallec & Charpiat 2015, Training RNNs online without backtracking"

    def advance_one(self, step: Any, s: Array, theta: Array, noise: Array):
        pushed, direct = step.push(s), step.direct()
        rho_0 = balance(theta, pushed, self.epsilon)
        rho = jnp.sqrt(jnp.linalg.norm(direct, axis=1) + self.epsilon)
        return rho_0 * pushed + rho * noise, theta / rho_0 + (noise / rho) @ direct


def balance(a: Any, b: Any, epsilon: Real):
    """√(‖a‖/‖b‖)."""
    return jnp.sqrt((jnp.linalg.norm(a) + epsilon) / (jnp.linalg.norm(b) + epsilon))
