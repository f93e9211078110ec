"""The best gates: randomized truncation whose cuts are where they cost the least variance.

For a given expected number of cuts Σ (1 − p_t), the memory that random truncation saves, the variance is smallest where
the keep probability p_t is proportional to √c_t, and at most 1. c_t is what a cut before step t costs in variance
(`gradients/cut_costs.py`); it depends on the probabilities of all other steps.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.base import Estimate, GatedEstimator
from tbptt_jax.estimators.laws import Independent
from tbptt_jax.estimators.pytree import Real
from tbptt_jax.gradients.chunk import chunk_loss
from tbptt_jax.gradients.cut_costs import crossing_credit
from tbptt_jax.gradients.cuts import Gates
from tbptt_jax.gradients.scan import cut_scan
from tbptt_jax.model import sequence_shape

FLOOR = 0.02  # a keep probability is never below it, so that no estimate of a cost can cut a gate for good


class Weights(NamedTuple):
    """The state, and the running mean of √c_t over their mean in a chunk, to which the probabilities are in proportion:
    1 before anything was seen."""

    state: PyTree
    weights: Float[Array, "T"]


@dataclass(frozen=True)
class Optimal(GatedEstimator):
    """Randomized truncation with keep probabilities of its own for every step, `keep` on average.

    They follow a running estimate of the costs of cuts at every step of a chunk, and are `keep` everywhere in the first
    one. It takes one more backward pass a chunk, which is not cut and so keeps all states, and two jvps. A chunk moves
    them by 1 − `memory` of the way, since the costs react to them: faster, they run away where credit is carried over
    many lags. `longest` is the largest number of steps that a chunk may have. Or the probabilities are `keeps` `[T]`,
    from `exact.optimal_keeps`, say, and nothing is estimated.
    """

    keep: Real = 0.9
    keeps: Any = None
    memory: Real = 0.99
    longest: int = field(default=1024, metadata={"static": True})
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "this package"

    def __post_init__(self):
        self.require("keep", f"a number above {FLOOR} and at most 1", lambda keep: (keep > FLOOR) & (keep <= 1))
        self.require("memory", "a number from 0 to below 1", lambda memory: (memory >= 0) & (memory < 1))
        self.require_whole("longest", 2)
        if self.keeps is not None:
            self.require("keeps", "numbers above 0 and at most 1", lambda keeps: (keeps > 0) & (keeps <= 1))
            if not isinstance(self.keeps, jax.core.Tracer):
                object.__setattr__(self, "keeps", tuple(np.asarray(self.keeps, float).tolist()))

    @property
    def constants(self):
        return ("keeps",) if self.keeps is None or isinstance(self.keeps, tuple) else ()

    @classmethod
    def of_length(cls, tau):
        return cls(1 - 1 / tau)

    def init(self, model, params, batch_size, key):
        state = model.initial_state(params, batch_size)
        return state if self.keeps is not None else Weights(state, jnp.ones(self.longest))

    def restart(self, model, params, carry, batch_size, key):
        state = model.initial_state(params, batch_size)
        return state if self.keeps is not None else carry._replace(state=state)

    def given_keeps(self, length):
        keeps = jnp.full(length, self.keep) if self.keeps is None else jnp.asarray(self.keeps, float)
        if keeps.shape != (length,):
            raise ValueError(f"optimal: keeps must be of shape [{length}], got {list(keeps.shape)}")
        return keeps

    def gates(self, key, length, batch_size):
        """Those of the first chunk, where the probabilities are estimated."""
        return drawn(self.require_key(key), self.given_keeps(length), batch_size)

    def cut(self, key, length, batch_size):
        if self.keeps is None:
            raise ValueError(
                "optimal: keeps, probabilities for every step, must be given where nothing is carried from one chunk "
                "to the next by which they could be estimated"
            )
        return super().cut(key, length, batch_size)

    def law(self, length):
        if self.keeps is None:
            return None  # it depends on what was carried
        return Independent(jnp.ones(length), 1 / self.given_keeps(length) - 1)

    def chosen(self, carry: Weights, length: int) -> Float[Array, "T"]:
        """The probabilities for the next chunk, of `length` steps."""
        return best_keeps(carry.weights[:length], self.keep)

    def __call__(self, model, params, carry, batch, key):
        if self.keeps is not None:
            return super().__call__(model, params, carry, batch, key)
        length, batch_size = sequence_shape(batch)
        if length > self.longest:
            raise ValueError(f"optimal: longest must be at least the chunks' length {length}, got {self.longest}")
        gate_key, probe_key = jax.random.split(self.require_key(key))
        keeps = self.chosen(carry, length)
        cut = Gates(drawn(gate_key, keeps, batch_size))

        def loss_and_state(params):
            return chunk_loss(model, params, carry.state, batch, partial(cut_scan, cut=cut))

        (loss, state), grads = jax.value_and_grad(loss_and_state, has_aux=True)(params)
        crossed = crossing_credit(model, params, carry.state, batch, keeps, probe_key)
        largest = jnp.max(jnp.abs(crossed))  # by which its squares neither overflow nor vanish
        told = jnp.isfinite(largest) & (largest > 0)
        roots = jnp.linalg.norm(crossed / jnp.where(told, largest, 1), axis=1)
        old = carry.weights[:length]
        weights = self.memory * old + (1 - self.memory) * roots / jnp.where(told, jnp.mean(roots), 1)
        return Estimate(loss, grads), Weights(state, carry.weights.at[:length].set(jnp.where(told, weights, old)))


def best_keeps(weights: Float[Array, "T"], keep: Real) -> Float[Array, "T"]:
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


def drawn(key, keeps, batch_size):
    """1/p_t with probability p_t, else 0: `[T, B]`."""
    uniform = jax.random.uniform(key, (len(keeps), batch_size))
    return jnp.where(uniform < keeps[:, None], 1 / keeps[:, None], 0.0)
