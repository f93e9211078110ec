"""Unbiased online recurrent optimization: the influence as one random outer product."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.estimators.pytree import Real
from tbptt_jax.gradients.influence.dynamics import Dynamics


@dataclass(frozen=True)
class UORO(InfluenceEstimator):
    """Carry M ≈ s̃ θ̃ᵀ, unbiased by random signs: s̃ ← ρ0 J s̃ + ρ1 ν, θ̃ ← θ̃/ρ0 + νᵀF/ρ1, ν of ±1.

    ρ0 = √(‖θ̃‖/‖J s̃‖) and ρ1 = √(‖νᵀF‖/‖ν‖) balance the two factors; `epsilon` is added to each norm. One jvp and one
    vjp a step, H + P numbers a sequence.
    """

    epsilon: Real = 1e-7
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"

    def __post_init__(self):
        self.require("epsilon", "a number above 0", lambda epsilon: epsilon > 0)

    def start(self, dynamics: Dynamics):
        return jnp.zeros(dynamics.hidden, dynamics.params.dtype), jnp.zeros_like(dynamics.params)

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        return jax.random.rademacher(self.require_key(key), (*shape, dynamics.hidden), dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        s, theta = influence
        pushed, pulled = step.push(s), step.pull(noise)
        rho_0 = balance(theta, pushed, self.epsilon)
        rho_1 = balance(pulled, noise, self.epsilon)
        return rho_0 * pushed + rho_1 * noise, theta / rho_0 + pulled / rho_1

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        s, theta = influence
        return (e @ s) * theta


def balance(a: Any, b: Any, epsilon: Real):
    """√(‖a‖/‖b‖)."""
    return jnp.sqrt((jnp.linalg.norm(a) + epsilon) / (jnp.linalg.norm(b) + epsilon))
