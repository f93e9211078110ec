"""Truncation that rolls along a stream: an update every k2 steps, whose losses look back k1 steps across chunks."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from tbptt_jax.estimators.base import Estimate, Pace
from tbptt_jax.estimators.buffered import Buffered
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Blocks, Cut
from tbptt_jax.models import Batch, Model, Params, Stopping, loss_of_states, sequence_shape, unroll


class History(NamedTuple):
    """The k1 − k2 steps before a chunk: the state before them, their inputs, and which of them there were."""

    state: PyTree
    inputs: PyTree
    there: Bool[Array, "L B"]


@dataclass(frozen=True)
class Rolling(Buffered):
    """Every k2 steps, their losses are backpropagated through the last k1 ≥ k2 steps, those of earlier chunks included.

    The k1 − k2 inputs before a chunk are kept, and the state before them; they run again under the parameters of now.
    So a loss sees between k1 − k2 and k1 − 1 steps before its own, wherever a chunk begins. In a stream it is trained
    in chunks of k2 steps. Within one sequence it is `buffered`; k1 = 2K − 1, k2 = K is a truncation of K in Aicher et
    al.
    """

    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Williams & Peng 1990, An efficient gradient-based algorithm: BPTT(h; h')"

    @classmethod
    def of_length(cls, tau: int):
        return cls(2 * tau - 1, tau)

    @property
    def nominal_length(self):
        return (self.k1 + 1) / 2 if self.k1 == 2 * self.k2 - 1 else self.k1

    @property
    def before(self) -> int:
        """How many steps before a chunk are run again."""
        return self.k1 - self.k2

    def pace(self, chunk: int):
        return Pace(self.k2, float(self.k2))

    def states_alive(self, length: int):
        return self.before + length

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        _, batch_size = sequence_shape(batch)

        def none_of(leaf: Any) -> Array:
            return jnp.zeros((self.before, *leaf.shape[1:]), leaf.dtype)

        state = model.initial_state(params, batch_size)
        return History(state, jax.tree.map(none_of, batch.inputs), jnp.zeros((self.before, batch_size), bool))

    def __call__(self, model: Model, params: Params, carry: History, batch: Batch, key: Array | None):
        offset = self.before % self.k2  # so that blocks end where the chunk's do
        return looking_back(Blocks(self.k1, self.k2, offset, whole=offset == 0), model, params, carry, batch)


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
