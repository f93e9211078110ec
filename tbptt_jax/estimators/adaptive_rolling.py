"""Adaptive truncation that looks back across the chunks of a stream, as Aicher et al. train."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.adaptive import Adaptive, Norms
from tbptt_jax.estimators.base import Pace
from tbptt_jax.estimators.rolling import History, Rolling, continued, looking_back
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.models import Batch, Model, Params, Stopping, sequence_shape


class Rolled(NamedTuple):
    """The last `longest` steps, and what was streamed of norms, without a state of its own."""

    history: History
    norms: Norms


@dataclass(frozen=True)
class AdaptiveRolling(Adaptive):
    """`adaptive`, whose τ is how far a chunk's first loss looks back, into earlier chunks too.

    In a stream it makes an update every `every` steps, whose losses see between τ and τ + every − 1 steps: it is
    `rolling(τ + every − 1, every)` with the τ of `adaptive`, measured over the chunk and the `longest` steps before it,
    which run again under the parameters of now.
    """

    every: int = field(default=10, metadata={"static": True})
    name: ClassVar[str] = "adaptive_rolling"

    def __post_init__(self):
        super().__post_init__()
        self.require_whole("every", 1)

    def pace(self, chunk: int):
        return Pace(self.every, float(self.every))

    def states_alive(self, length: int):
        return self.longest + length

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        history = Rolling(self.longest + self.every, self.every).init(model, params, batch, key)
        return Rolled(history, super().init(model, params, batch, key)._replace(state=()))

    def restart(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        return Rolled(self.init(model, params, batch, key).history, carry.norms)

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        history = carry.history
        measured = self.measured(Stopping(model), params, history.state, with_history(history, batch))
        norms = self.with_chunk(carry.norms, measured)
        steps = jnp.arange(self.longest + sequence_shape(batch)[0])
        cut = Gates((steps != self.longest - self.choice(norms).tau + 1).astype(float))
        estimate, history = looking_back(cut, model, params, history, batch)
        return estimate, Rolled(history, norms)


def with_history(history: History, batch: Batch) -> Batch:
    """The chunk after the steps before it, which have no loss."""
    length, batch_size = sequence_shape(batch)
    before = len(history.there)
    weights = jnp.ones((length, batch_size)) if batch.weights is None else batch.weights

    def after_none(leaf: Array) -> Array:
        return jnp.concatenate([jnp.zeros((before, *leaf.shape[1:]), leaf.dtype), leaf])

    return Batch(continued(history, batch), jax.tree.map(after_none, batch.targets), after_none(weights))
