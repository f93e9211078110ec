"""The credit that crosses each step, and so what a cut there costs in variance: all steps at once, from one chunk.

Gates of mean 1 that are kept with probability p_t (and else cut) have the variance v_t = 1/p_t − 1, and the estimate is
A_t + gate_t B_t, where B_t = S_{t−1}ᵀ J_tᵀ δ_t is the gradient that crosses from step t on to the steps before it, with
S_{t−1} under the gates before step t and δ_t under those after it. So a cut before step t costs c_t = ∂Var/∂v_t =
E‖B_t‖². For a random direction v in the space of the parameters, (a_t · δ_t)² with a_t = J_t S_{t−1} v is an unbiased
estimate of it: one gated jvp and one backward pass, for all steps at once.

Only the first two moments of the gates matter to c_t, and so these are ±√(1/p_t) of mean 1: they have the same moments,
without the rare long products that would carry the mean and hardly ever be seen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.forward import chunk_loss, states_before
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Batch, Model, Params, sequence_shape


def crossing_credit(
    model: Model, params: Params, state: PyTree, batch: Batch, keeps: Float[Array, " T"], key: Array
) -> Float[Array, "T B"]:
    """a_t · δ_t, whose squares, added up over the batch, are an unbiased estimate of c_t where gates are kept with such
    probabilities."""
    sign_key, direction_key = jax.random.split(key)
    length, batch_size = sequence_shape(batch)
    signs = with_signs(sign_key, keeps, batch_size)
    scan = partial(cut_scan, cut=Gates(signs))
    credits = jax.grad(lambda probes: chunk_loss(model, params, state, batch, probing(scan, probes))[0])(
        no_probes(state, batch)
    )
    flat, restore = ravel_pytree(params)
    direction = restore(jax.random.normal(direction_key, flat.shape, flat.dtype))
    moving = crossing(model, params, state, batch, signs, direction)
    products = [(a * delta).reshape(length, batch_size, -1) for a, delta in zip(moving, credits)]
    return jnp.sum(jnp.concatenate(products, axis=-1), axis=-1)


def crossing(model: Model, params: Params, state: PyTree, batch: Batch, gates: Any, direction: PyTree) -> list:
    """a_t = J_t S_{t−1} v for every step `[T, B, ...]`: how the state moves with the parameters' past use, as far as
    the gates before step t let it through."""

    def step(moving, now):
        state, x, gate = now

        def through(params, h):
            return floats(model.step(params, with_floats(state, h), x))

        still = jax.tree.map(jnp.zeros_like, (params, moving))
        at = (params, floats(state))
        _, crossed = jax.jvp(through, at, (still[0], moving))
        _, direct = jax.jvp(through, at, (direction, still[1]))
        gates = [gate.reshape(-1, *[1] * (h.ndim - 1)).astype(h.dtype) for h in crossed]
        moved = [f + g * c for f, g, c in zip(direct, gates, crossed)]
        return moved, crossed

    nothing = [jnp.zeros_like(leaf) for leaf in floats(state)]
    before = states_before(model, params, state, batch.inputs)
    return lax.scan(step, nothing, (before, batch.inputs, gates))[1]


def with_signs(key: Array, keeps: Any, batch_size: int):
    """±√(1/p_t), of mean 1 too: `[T, B]`. Their first two moments are those of 1/p_t with probability p_t, else 0."""
    positive = jax.random.uniform(key, (len(keeps), batch_size)) < (1 + jnp.sqrt(keeps[:, None])) / 2
    return jnp.where(positive, 1.0, -1.0) / jnp.sqrt(keeps[:, None])


def no_probes(state: PyTree, batch: Batch) -> list[Array]:
    """Zeros `[T, B, ...]` to be added to the states of all steps: the loss's gradient by them is the credit δ_t."""
    length, _ = sequence_shape(batch)
    return [jnp.zeros((length, *leaf.shape), leaf.dtype) for leaf in floats(state)]


def probing(scan: Callable, probes: list[Array]) -> Callable:
    """A scan that adds probes to its states."""

    def probed(step, init, xs):
        def probed_step(state, now):
            x, probe = now
            state, _ = step(state, x)
            state = with_floats(state, [h + p for h, p in zip(floats(state), probe)])
            return state, state

        return scan(probed_step, init, (xs, probes))

    return probed
