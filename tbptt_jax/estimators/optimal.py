"""The optimal gates: randomized truncation whose cuts are where they cost the least variance.

For a given expected number of cuts Σ (1 − p_t), the memory that random truncation saves, the variance is smallest where
the keep probability p_t is proportional to √c_t, and at most 1. c_t is what a cut before step t costs in variance
(`gradients/cuts/crossing.py`); it depends on the probabilities of all other steps.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator, cut_estimate
from tbptt_jax.estimators.randomized import mean_length
from tbptt_jax.estimators.scheduled import Scheduled, drawn
from tbptt_jax.gradients.cuts.crossing import crossing_credit
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.models import Batch, Model, Params, sequence_shape
from tbptt_jax.pytree import Real

FLOOR = 0.02  # a keep probability is never below it, so that no estimate of a cost can cut a gate for good


class Weights(NamedTuple):
    """The state, and a weight for each step, to which its probability is in proportion: the running mean of √c_t, each
    time divided by its mean over the chunk; 1 before anything was seen."""

    state: PyTree
    weights: Float[Array, " T"]


@dataclass(frozen=True)
class Optimal(Estimator):
    """Randomized truncation with a keep probability of its own for every step, `keep` on average, learned as it goes.

    The probabilities follow a running estimate of what a cut costs at every step of a chunk; in the first chunk they
    are `keep` everywhere. The estimate takes two jvps and one more backward pass a chunk, which is not cut and so keeps
    all states. A chunk moves it by 1 − `memory` of the way. The costs depend on the probabilities in turn, so that
    larger moves run away where credit is carried over many lags. `longest` is the largest number of steps that a chunk
    may have. `scheduled(keeps)` takes probabilities that are given.
    """

    keep: Real = 0.9
    memory: Real = 0.99
    longest: int = field(default=1024, metadata={"static": True})
    unbiased: ClassVar[str] = "chunk"
    learns: ClassVar[bool] = True
    learns_gates: ClassVar[bool] = True
    reference: ClassVar[str] = "this package"

    def __post_init__(self):
        self.require("keep", f"a number above {FLOOR} and at most 1", lambda keep: (keep > FLOOR) & (keep <= 1))
        self.require("memory", "a number from 0 to below 1", lambda memory: (memory >= 0) & (memory < 1))
        self.require_whole("longest", 2)

    @classmethod
    def of_length(cls, tau: int | float):
        return cls(1 - 1 / tau)

    @property
    def nominal_length(self):
        return mean_length(self.keep)

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        return Weights(model.initial_state(params, sequence_shape(batch)[1]), jnp.ones(self.longest))

    def restart(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        return carry._replace(state=model.initial_state(params, sequence_shape(batch)[1]))

    def chosen(self, carry: Weights, length: int) -> Float[Array, " T"]:
        """The probabilities for the next chunk, of `length` steps."""
        return keeps_for(carry.weights[:length], self.keep)

    def frozen(self, carry: Weights, length: int) -> Scheduled:
        return Scheduled(self.chosen(carry, length))

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        length, batch_size = sequence_shape(batch)
        if length > self.longest:
            raise UserError(f"optimal: longest must be at least the chunks' length {length}, got {self.longest}")
        gate_key, probe_key = jax.random.split(self.require_key(key))
        keeps = self.chosen(carry, length)
        gates = Gates(drawn(gate_key, keeps, batch_size))
        estimate, state = cut_estimate(gates, model, params, carry.state, batch)
        crossed = crossing_credit(model, params, carry.state, batch, keeps, probe_key)
        largest = jnp.max(jnp.abs(crossed))  # by which its squares neither overflow nor vanish
        told = jnp.isfinite(largest) & (largest > 0)
        roots = jnp.linalg.norm(crossed / jnp.where(told, largest, 1), axis=1)
        old = carry.weights[:length]
        weights = self.memory * old + (1 - self.memory) * roots / jnp.where(told, jnp.mean(roots), 1)
        return estimate, Weights(state, carry.weights.at[:length].set(jnp.where(told, weights, old)))


def keeps_for(weights: Float[Array, " T"], keep: Real) -> Float[Array, " T"]:
    """Proportional to the weights, within `FLOOR`..1, `keep` on average; no cut is counted before the first step."""
    weights = weights.at[0].set(0.0)
    target = keep * (len(weights) - 1)

    def keeps(scale):
        return jnp.clip(scale * weights, FLOOR, 1.0).at[0].set(1.0)

    def halve(_, ends):
        low, high = ends
        middle = jnp.sqrt(low * high)
        enough = jnp.sum(keeps(middle)[1:]) >= target
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    largest = jnp.where(jnp.max(weights) > 0, jnp.max(weights), 1.0)
    _, high = lax.fori_loop(0, 100, halve, (1e-3 / largest, 1e12 / largest))
    found = keeps(high)
    # steps that no credit crosses are free to cut; where that would be too many, they are kept as often as it takes
    room = target - jnp.sum(found[1:])
    free = (found <= FLOOR).at[0].set(False)
    return jnp.where(free, jnp.clip(FLOOR + room / jnp.maximum(jnp.sum(free), 1), FLOOR, 1.0), found)
