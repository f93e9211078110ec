"""A cut backward pass with a critic: where a gate lets g of the credit through, the critic's s stands for the rest.

δ_{t−1} = e_{t−1} + g Jᵀδ_t + (1 − g) s_{t−1}: what the critic adds is the gradient of a loss that is linear in the
states, Σ_t (1 − g_{t+1}) ⟨s_t, h_t⟩ with s held constant, so that any cut serves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.critics.base import Critic
from tbptt_jax.forward import loss_of_states, loss_weights, or_one, unroll
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Cut
from tbptt_jax.leaves import floats
from tbptt_jax.models import Batch, Model, Nudged, Params, State


class Estimate(NamedTuple):
    """The loss of a chunk and an estimate of its gradient, shaped as the parameters."""

    loss: Float[Array, ""]
    grads: PyTree


class Fitted(NamedTuple):
    """What an estimator with a critic carries."""

    state: State
    critic: PyTree


class Crossed(NamedTuple):
    """What a backward pass has seen: the states before all steps, and the credit that each step passed back to them."""

    states: Float[Array, "T B H"]
    credits: Float[Array, "T B H"]

    def lessons(self, beyond: bool) -> tuple[Array, Array]:
        """The states and credits that a critic learns from. A chunk's first state is given, and no parameter has led to
        it: it is among them only with `beyond`, where the critic has stood for this chunk."""
        first = 0 if beyond else 1
        states, credits = (part[first:].reshape(-1, part.shape[2]) for part in self)
        return states, credits


def with_critic(
    critic: Critic, cut: Cut, gates: Float[Array, "T B"], model: Model, params: Params, carry: Fitted, batch: Batch
) -> tuple[Estimate, Fitted]:
    """The estimate of a chunk, and what the critic has learned from it; the estimate is that of the critic before."""
    predict = partial(critic.predict, carry.critic)
    estimate, after, crossed = estimate_across(
        cut, gates, predict, model, params, carry.state, batch, beyond=critic.beyond
    )
    states, credits = crossed.lessons(critic.beyond)
    if not len(states):  # of a chunk of one step there is nothing to learn
        return estimate, Fitted(after, carry.critic)
    learned = critic.fit(carry.critic, states, credits)
    told = jnp.all(jnp.isfinite(crossed.credits))  # what overflowed teaches nothing
    return estimate, Fitted(after, jax.tree.map(lambda new, old: jnp.where(told, new, old), learned, carry.critic))


def estimate_across(
    cut: Cut,
    gates: Float[Array, "T B"],
    predict: Callable[[Array], Array],
    model: Model,
    params: Params,
    start: State,
    batch: Batch,
    *,
    beyond: bool = False,
) -> tuple[Estimate, State, Crossed]:
    """The estimate with a cut, of which `gates` are the gates, and predictions across it; the state after the chunk;
    and what crossed from step to step."""
    unit = or_one(jnp.sum(loss_weights(batch)))
    end = jnp.full_like(gates[:1], 0.0 if beyond else 1.0)
    missing = 1 - jnp.concatenate([gates[1:], end])

    def loss(params: Params, nudges: list) -> tuple[Array, Any]:
        scan = partial(cut_scan, cut=cut)
        final, states = unroll(Nudged(model), params, start, (batch.inputs, nudges), scan)
        own, h = loss_of_states(model, params, states, batch), flat(states)
        predicted = predict(lax.stop_gradient(h).reshape(-1, h.shape[2])).reshape(h.shape)
        across = jnp.sum(missing[..., None] * predicted / unit * h).astype(own.dtype)
        return own + across - lax.stop_gradient(across), (own, final, h)

    still = [jnp.zeros((len(gates), *leaf.shape), leaf.dtype) for leaf in floats(start)]
    ((_, (own, final, h)), (grads, passed)) = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, still)
    first = flat(jax.tree.map(lambda leaf: leaf[None], start))
    before, credits = jnp.concatenate([first, h[:-1]]), unit * flat(passed)
    return Estimate(own, grads), final, Crossed(before, credits.astype(h.dtype))


def flat(states: State) -> Float[Array, "T B H"]:
    """The floats of states `[T, B, ...]`, a row of numbers for each step and sequence."""
    leaves = floats(states)
    return jnp.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)
