"""Kronecker-factored RTRL: the influence as one random Kronecker product."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.cells import SummedLayer
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.estimators.uoro import balance
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.gradients.influence.summed import as_parameters, declared_layer, units
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class KFRTRL(InfluenceEstimator):
    """Carry M ≈ u ⊗ A, unbiased by random signs c: u ← c1 p0 u + c2 p1 â, A ← c1 J A / p0 + c2 D / p1.

    For cells whose weights act through one sum a_t = W â_t, with â_t = (x_t, h_{t−1}, 1): there F_t = â_t ⊗ D_t,
    D_t = ∂h_t/∂a_t. p0 = √(‖J A‖/‖u‖), p1 = √(‖D‖/‖â‖) balance the factors. linear, tanh and LSTM cells are such cells,
    and any `SummedLayer` of a user's, one layer of them; the GRU is not, whose reset gate acts within the sum.
    """

    epsilon: Real = 1e-7
    name: ClassVar[str] = "kf_rtrl"
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Mujika, Meier & Steger 2018, Approximating RTRL with random Kronecker factors"

    def __post_init__(self):
        self.require("epsilon", "a number above 0", lambda epsilon: epsilon > 0)

    def start(self, dynamics: Dynamics):
        cell = summed(dynamics, self.name)
        sums, inputs = cell.blocks * cell.hidden, cell.inputs + cell.hidden + cell.bias
        return jnp.zeros(inputs, dynamics.params.dtype), jnp.zeros((dynamics.hidden, sums), dynamics.params.dtype)

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        return jax.random.rademacher(self.require_key(key), (*shape, 2), dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        u, a = influence
        c1, c2 = noise
        at = units(summed(dynamics, self.name), dynamics, step)
        direct = jnp.einsum("sgh,hk->shgk", at.by_sum, jnp.eye(at.by_sum.shape[2], dtype=a.dtype)).reshape(a.shape)
        pushed = jax.vmap(step.push, in_axes=1, out_axes=1)(a)
        p0 = balance(pushed.ravel(), u, self.epsilon)
        p1 = balance(direct.ravel(), at.inputs, self.epsilon)
        return c1 * p0 * u + c2 * p1 * at.inputs, c1 * pushed / p0 + c2 * direct / p1

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        u, a = influence
        return as_parameters(summed(dynamics, self.name), jnp.outer(e @ a, u))


def summed(dynamics: Dynamics, name: str) -> SummedLayer:
    """The layer that the model declares, for an estimator of this name that needs one."""
    cell = declared_layer(dynamics)
    if cell is None:
        raise UserError(
            f"{name}: a model rnn(cell, ...) of one layer is needed whose weights act through one sum: linear, tanh, "
            f"lstm or a SummedLayer of your own; got {dynamics.model}"
        )
    return cell
