"""The loss of one chunk: what every estimator that does not go step by step differentiates, or looks at."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.gradients.leaves import floats, with_floats
from tbptt_jax.model import Batch, Model, Params, loss_of_states, sequence_shape


def chunk_loss(
    model: Model, params: Params, state: PyTree, batch: Batch, scan: Callable = lax.scan
) -> tuple[Array, PyTree]:
    """The loss of a chunk from a state, and the state after it; `scan(step, state, inputs)` may cut what goes back."""

    def step(state, x):
        state = model.step(params, state, x)
        return state, state

    final, states = scan(step, state, batch.inputs)
    return loss_of_states(model, params, states, batch), final


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
