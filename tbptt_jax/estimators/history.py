"""The steps before a chunk, which run again under the parameters of now: how credit crosses the chunks of a stream."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from tbptt_jax.estimators.predicted import Estimate
from tbptt_jax.forward import loss_of_states, unroll
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Cut
from tbptt_jax.models import Batch, Model, Params, Stopping, sequence_shape


class History(NamedTuple):
    """The steps before a chunk: the state before them, their inputs, and which of them there were."""

    state: PyTree
    inputs: PyTree
    there: Bool[Array, "L B"]


def no_history(steps: int, model: Model, params: Params, batch: Batch) -> History:
    """That of a new stream, which has room for so many steps; of the batch, only shapes and types count."""
    _, batch_size = sequence_shape(batch)

    def none_of(leaf: Any) -> Array:
        return jnp.zeros((steps, *leaf.shape[1:]), leaf.dtype)

    state = model.initial_state(params, batch_size)
    return History(state, jax.tree.map(none_of, batch.inputs), jnp.zeros((steps, batch_size), bool))


def continued(history: History, batch: Batch) -> tuple[PyTree, Bool[Array, "T B"]]:
    """The inputs before a chunk and its own, and which of these steps there are: what `Stopping` reads."""
    inputs = jax.tree.map(lambda *parts: jnp.concatenate(parts), history.inputs, batch.inputs)
    return inputs, jnp.concatenate([history.there, jnp.ones(sequence_shape(batch), bool)])


def looking_back(cut: Cut, model: Model, params: Params, history: History, batch: Batch) -> tuple[Estimate, History]:
    """What a cut makes of a chunk and the steps before it, which run again; and the history of the next chunk."""
    length, before = sequence_shape(batch)[0], len(history.there)
    read = continued(history, batch)

    def loss_and_state(params: Params) -> tuple[Array, PyTree]:
        _, states = unroll(Stopping(model), params, history.state, read, partial(cut_scan, cut=cut))
        own = jax.tree.map(lambda leaf: leaf[before:], states)
        return loss_of_states(model, params, own, batch), jax.tree.map(lambda leaf: leaf[length - 1], states)

    (loss, state), grads = jax.value_and_grad(loss_and_state, has_aux=True)(params)
    return Estimate(loss, grads), History(state, *jax.tree.map(lambda leaf: leaf[length:], read))
