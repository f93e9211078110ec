"""Backpropagation one lag at a time, all steps side by side.

δ⁰ = e, the credit that each state has for its own loss; δ^{k+1}_t = J_{t+1}ᵀ δ^k_{t+1}, all t at once;
G_k = Σ_t F_tᵀ δ^k_t. The full gradient is Σ_k G_k and the part of the readout.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tbptt_jax.gradients.leaves import floats, with_floats
from tbptt_jax.model import Batch, Model, Params, State, loss_of_states, sequence_shape


class Unrolled(NamedTuple):
    """A model run over a batch: the states before each step and after it `[T, ...]`, the credit e that each state has
    for its own loss (floating-point leaves only), and the gradient through the readout, the states held constant."""

    before: object
    after: object
    own_credit: list
    readout: object


def unroll(model: Model, params: Params, batch: Batch, start: State | None = None) -> Unrolled:
    """From a state, or from the model's initial one."""
    _, batch_size = sequence_shape(batch)

    def step(state, x):
        new_state = model.step(params, state, x)
        return new_state, (state, new_state)

    _, (before, after) = lax.scan(
        step, model.initial_state(params, batch_size) if start is None else start, batch.inputs
    )

    def loss(params, moving):
        return loss_of_states(model, params, with_floats(after, moving), batch)

    readout, own_credit = jax.grad(loss, argnums=(0, 1))(params, floats(after))
    return Unrolled(before, after, own_credit, readout)


def pullback(model: Model, params: Params, inputs, before):
    """credits `[T, ...]` on the states after their steps → (Σ_t F_tᵀ δ_t, J_tᵀ δ_t for every t)."""

    def every_step(params, moving):
        return floats(jax.vmap(model.step, (None, 0, 0))(params, with_floats(before, moving), inputs))

    return jax.vjp(every_step, params, floats(before))[1]


def earlier(credits: list) -> list:
    """Credits on the states before their steps, as credits on the states after the steps before; the first is lost."""
    return [jnp.concatenate([c[1:], jnp.zeros_like(c[:1])]) for c in credits]
