"""Reverse Kronecker-factored RTRL: the influence as a random product over the units that weights lead to."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.estimators.kf_rtrl import summed
from tbptt_jax.estimators.uoro import balance
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.gradients.influence.summed import as_parameters, units
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class RKFRTRL(InfluenceEstimator):
    """Carry ∂h_k/∂W_ij ≈ a_i B_kj, unbiased by random signs ν: a ← a/ρ0 + ρ1 ν, B ← ρ0 J B + Σ_g ν_g D_g âᵀ/ρ1.

    i runs over the sums of all units (G a unit) and j over what they sum, â_t = (x_t, h_{t−1}, 1); D_g is ∂h_t by the
    g-th sum, unit by unit. `kf_rtrl` has the random vector at j instead. For the same cells as that.
    """

    epsilon: Real = 1e-7
    name: ClassVar[str] = "r_kf_rtrl"
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"

    def __post_init__(self):
        self.require("epsilon", "a number above 0", lambda epsilon: epsilon > 0)

    def start(self, dynamics: Dynamics):
        cell = summed(dynamics, self.name)
        inputs = cell.inputs + cell.hidden + cell.bias
        dtype = dynamics.params.dtype
        return jnp.zeros(cell.blocks * cell.hidden, dtype), jnp.zeros((dynamics.hidden, inputs), dtype)

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        cell = summed(dynamics, self.name)
        return jax.random.rademacher(self.require_key(key), (*shape, cell.blocks, cell.hidden), dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        a, b = influence
        at = units(summed(dynamics, self.name), dynamics, step)
        acted = jnp.einsum("sgh,gh->sh", at.by_sum, noise).reshape(-1)  # on every number of the state
        direct = jnp.outer(acted, at.inputs)
        pushed = jax.vmap(step.push, in_axes=1, out_axes=1)(b)
        rho_0 = balance(a, pushed.ravel(), self.epsilon)
        rho_1 = balance(direct.ravel(), noise.ravel(), self.epsilon)
        return a / rho_0 + rho_1 * noise.ravel(), rho_0 * pushed + direct / rho_1

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        a, b = influence
        return as_parameters(summed(dynamics, self.name), jnp.outer(a, e @ b))
