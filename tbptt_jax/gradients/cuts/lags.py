"""Backpropagation one lag at a time, all steps side by side.

δ⁰ = e, the credit that each state has for its own loss; δ^{k+1}_t = J_{t+1}ᵀ δ^k_{t+1}, all t at once;
G_k = Σ_t F_tᵀ δ^k_t. The full gradient is Σ_k G_k and the part of the readout.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tbptt_jax.forward import loss_of_states, unroll
from tbptt_jax.leaves import before_each, floats, with_floats
from tbptt_jax.models import Batch, Model, Params, State, sequence_shape


class Trajectory(NamedTuple):
    """A model run over a batch: the states before each step and after it `[T, ...]`, the credit e that each state has
    for its own loss (floating-point leaves only), and the gradient through the readout, the states held constant."""

    before: State
    after: State
    own_credit: list
    readout: PyTree


def trajectory(model: Model, params: Params, batch: Batch, start: State | None = None) -> Trajectory:
    """From a state, or from the model's initial one."""
    _, batch_size = sequence_shape(batch)
    start = model.initial_state(params, batch_size) if start is None else start
    _, after = unroll(model, params, start, batch.inputs)
    before = before_each(start, after)

    def loss(params, moving):
        return loss_of_states(model, params, with_floats(after, moving), batch)

    readout, own_credit = jax.grad(loss, argnums=(0, 1))(params, floats(after))
    return Trajectory(before, after, own_credit, readout)


def pullback(model: Model, params: Params, inputs: PyTree, before: State) -> Callable:
    """credits `[T, ...]` on the states after their steps → (Σ_t F_tᵀ δ_t, J_tᵀ δ_t for every t)."""

    def every_step(params, moving):
        return floats(jax.vmap(model.step, (None, 0, 0))(params, with_floats(before, moving), inputs))

    return jax.vjp(every_step, params, floats(before))[1]


def earlier(credits: list) -> list:
    """Credits on the states before their steps, as credits on the states after the steps before; the first is lost."""
    return [jnp.concatenate([c[1:], jnp.zeros_like(c[:1])]) for c in credits]
