"""The forward pass of a model over a chunk, and its loss: Σ weights · l / Σ weights over all steps and sequences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.leaves import before_each
from tbptt_jax.models import Batch, Model, Params, State, sequence_shape, takes_resets


def loss(model: Model, params: Params, batch: Batch) -> Array:
    """L = Σ weights · l / Σ weights over whole sequences; its `jax.grad` is full backpropagation through time.

    Where all weights are zero the loss is 0; a NaN in the data is never hidden: it makes the loss NaN.

    Args:
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`, which start from the model's initial state.

    Returns:
        The loss, a number.
    """
    _, batch_size = sequence_shape(batch)
    start = lax.stop_gradient(model.initial_state(params, batch_size))
    return chunk_loss(model, params, start, batch)[0]


@takes_resets
def chunk_loss(
    model: Model, params: Params, start: State, batch: Batch, scan: Callable = lax.scan
) -> tuple[Array, State]:
    """The loss of a chunk from a state, and the state after it; for `scan` see `unroll`."""
    final, states = unroll(model, params, start, batch.inputs, scan)
    return loss_of_states(model, params, states, batch), final


@takes_resets
def chunk_loss_step_by_step(
    model: Model, params: Params, start: State, batch: Batch, scan: Callable = lax.scan
) -> tuple[Array, State]:
    """The same, each step's loss read out as the step is made: no more than a loss is left of a state."""

    def step(state: State, x_and_target: PyTree) -> tuple[State, Array]:
        x, target = x_and_target
        state = model.step(params, state, x)
        return state, model.losses(model.readout(params, state), target)

    final, losses = scan(step, start, (batch.inputs, batch.targets))
    return weighted_mean(checked_losses(model, losses, batch), batch.weights), final


def unroll(
    model: Model, params: Params, start: State, inputs: PyTree, scan: Callable = lax.scan
) -> tuple[State, State]:
    """The forward pass: the last state, and the states after all steps `[T, B, ...]`.

    `scan(step, start, inputs)` is `lax.scan` or one that lets less credit back."""

    def step(state: State, x: PyTree) -> tuple[State, State]:
        state = model.step(params, state, x)
        return state, state

    return scan(step, start, inputs)


def states_before(model: Model, params: Params, start: State, inputs: PyTree) -> State:
    """The states that the steps of a chunk start from, leaves `[T, B, ...]`."""
    return before_each(start, unroll(model, params, start, inputs)[1])


def loss_of_states(model: Model, params: Params, states: State, batch: Batch) -> Array:
    """The loss when the states h_1..h_T `[T, B, ...]` are known: the readout of all steps at once."""
    outputs = jax.vmap(model.readout, in_axes=(None, 0))(params, states)
    losses = jax.vmap(model.losses)(outputs, batch.targets)
    return weighted_mean(checked_losses(model, losses, batch), batch.weights)


def checked_losses(model: Model, losses: Array, batch: Batch) -> Array:
    """The losses, which must be one a step and sequence."""
    length, batch_size = sequence_shape(batch)
    if losses.shape != (length, batch_size):
        raise UserError(f"{type(model).__name__}.losses: shape [B] = [{batch_size}] is needed, got {losses.shape[1:]}")
    return losses


def weighted_mean(losses: Float[Array, "T B"], weights: Array | None) -> Array:
    """Σ weights · losses / Σ weights; 0 where all weights are zero, as in a chunk before the only loss."""
    if weights is None:
        return jnp.mean(losses)
    return jnp.sum(weights * losses) / or_one(jnp.sum(weights))


def or_one(total: Array) -> Array:
    """A sum of weights to divide by: 1 where all of them are 0."""
    return jnp.where(total == 0, 1, total)


def loss_weights(batch: Batch) -> Float[Array, "T B"]:
    """The weights of a batch's losses, 1 everywhere where it has none."""
    return jnp.ones(sequence_shape(batch)) if batch.weights is None else batch.weights * 1.0
