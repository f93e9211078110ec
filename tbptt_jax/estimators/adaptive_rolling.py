"""Adaptive truncation that looks back across the chunks of a stream, as Aicher et al. train."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.adaptive import Adaptive, Norms
from tbptt_jax.estimators.base import Estimate, Pace
from tbptt_jax.estimators.history import History, continued, looking_back, no_history
from tbptt_jax.forward import loss_weights
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.models import Batch, Model, Params, Stopping, sequence_shape


class Rolled(NamedTuple):
    """The last `longest` steps, and what was streamed of norms, without a state of its own."""

    history: History
    norms: Norms


@dataclass(frozen=True)
class AdaptiveRolling(Adaptive):
    """`adaptive`, whose τ is how far a chunk's first loss looks back, into earlier chunks too.

    The losses of every `every` steps see between τ and τ + every − 1 steps, as in `rolling(τ + every − 1, every)`. τ is
    chosen as by `adaptive`, from norms over these steps and the `longest` before them, which run again under the
    current parameters. Experiments make an update every `every` steps; the estimate of a longer chunk is the mean over
    its pieces of `every` steps.
    """

    every: int = field(default=10, metadata={"static": True})
    name: ClassVar[str] = "adaptive_rolling"
    carries_more: ClassVar[bool] = True  # type: ignore[misc]

    def __post_init__(self):
        super().__post_init__()
        self.require_whole("every", 1)

    def pace(self, chunk: int):
        return Pace(self.every, float(self.every))

    def states_alive(self, length: int):
        return self.longest + length

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        history = no_history(self.longest, model, params, batch)
        return Rolled(history, super().init(model, params, batch, key)._replace(state=()))

    def restart(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        return Rolled(self.init(model, params, batch, key).history, carry.norms)

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        """One estimate a piece of `every` steps; of a longer chunk, their mean by weight."""
        estimates, weights = [], []
        for start in range(0, sequence_shape(batch)[0], self.every):
            piece = jax.tree.map(lambda leaf, start=start: leaf[start : start + self.every], batch)
            estimate, carry = self.of_piece(model, params, carry, piece)
            estimates.append(estimate)
            weights.append(weight_of(piece))
        if len(estimates) == 1:
            return estimates[0], carry
        parts = jnp.stack(weights) / jnp.maximum(jnp.sum(jnp.stack(weights)), 1e-30)  # without a loss all are 0

        def mean(*leaves: Array) -> Array:
            return jnp.tensordot(parts, jnp.stack(leaves), 1).astype(leaves[0].dtype)

        return jax.tree.map(mean, *estimates), carry

    def of_piece(self, model: Model, params: Params, carry: Rolled, batch: Batch) -> tuple[Estimate, Rolled]:
        history = carry.history
        measured = self.measured(Stopping(model), params, history.state, with_history(history, batch))
        norms = self.with_chunk(carry.norms, measured)
        steps = jnp.arange(self.longest + sequence_shape(batch)[0])
        cut = Gates((steps != self.longest - self.choice(norms).tau + 1).astype(float))
        estimate, history = looking_back(cut, model, params, history, batch)
        return estimate, Rolled(history, norms)


def weight_of(batch: Batch) -> Array:
    """How much of a loss a batch has."""
    return jnp.sum(loss_weights(batch))


def with_history(history: History, batch: Batch) -> Batch:
    """The chunk after the steps before it, which have no loss."""
    before = len(history.there)

    def after_none(leaf: Array) -> Array:
        return jnp.concatenate([jnp.zeros((before, *leaf.shape[1:]), leaf.dtype), leaf])

    return Batch(continued(history, batch), jax.tree.map(after_none, batch.targets), after_none(loss_weights(batch)))
