"""The best gates: randomized truncation whose cuts are where they cost the least variance.

Gates of mean 1 that are kept with probability p_t (and else cut) have the variance v_t = 1/p_t − 1, and the estimate is
A_t + gate_t B_t, where B_t = S_{t−1}ᵀ J_tᵀ δ_t is the gradient that crosses from step t on to the steps before it, with
S_{t−1} under the gates before step t and δ_t under those after it. So a cut before step t costs c_t = ∂Var/∂v_t =
E‖B_t‖². For a given expected number of cuts Σ (1 − p_t), the memory that random truncation saves, the variance is
smallest where p_t is proportional to √c_t, and at most 1; c_t depends on the p of all other steps.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.base import Estimate, GatedEstimator
from tbptt_jax.estimators.laws import Independent
from tbptt_jax.estimators.pytree import Real
from tbptt_jax.estimators.running import running_mean
from tbptt_jax.gradients.cuts import Gates
from tbptt_jax.gradients.leaves import floats, with_floats
from tbptt_jax.gradients.scan import cut_scan
from tbptt_jax.model import loss_of_states, sequence_shape

FLOOR = 0.02  # a keep probability is never below it, so that no estimate of a cost can cut a gate for good


class Costs(NamedTuple):
    """The state, and running means over `chunks` chunks of what a cut before each step costs."""

    state: PyTree
    costs: Float[Array, "T"]
    chunks: Array


@dataclass(frozen=True)
class Optimal(GatedEstimator):
    """Randomized truncation with keep probabilities of its own for every step, `keep` on average.

    They follow a running estimate of the costs of cuts at every step of a chunk, and are `keep` everywhere in the first
    one. For a random direction v in the space of the parameters, (a_t · δ_t)² with a_t = J_t S_{t−1} v, from one gated
    jvp and one more backward pass, is an unbiased estimate of c_t, for all steps at once. Only the first two moments of
    the gates matter to it, and so it is made with gates ±√(1/p_t) of mean 1: the same moments, without the rare long
    products that would carry the mean and hardly ever be seen. `memory` is how much of the running mean a chunk leaves,
    `longest` the largest number of steps that a chunk may have. Or the probabilities are `keeps` `[T]`, from
    `exact.optimal_keeps`, say, and nothing is estimated.
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
        return state if self.keeps is not None else Costs(state, jnp.zeros(self.longest), jnp.zeros((), int))

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

    def chosen(self, carry: Costs, length: int) -> Float[Array, "T"]:
        """The probabilities for the next chunk, of `length` steps."""
        best = best_keeps(jnp.sqrt(carry.costs[:length]), self.keep)
        return jnp.where(carry.chunks > 0, best, jnp.full_like(best, self.keep))

    def __call__(self, model, params, carry, batch, key):
        if self.keeps is not None:
            return super().__call__(model, params, carry, batch, key)
        length, batch_size = sequence_shape(batch)
        if length > self.longest:
            raise ValueError(f"optimal: longest must be at least the chunks' length {length}, got {self.longest}")
        gate_key, *probe_keys = jax.random.split(self.require_key(key), 3)
        keeps = self.chosen(carry, length)

        def chunk_loss(params, probes, gates):
            def step(state, now):
                x, probe = now
                state = model.step(params, state, x)
                state = with_floats(state, [h + p for h, p in zip(floats(state), probe)])
                return state, state

            final, states = cut_scan(step, carry.state, (batch.inputs, probes), Gates(gates))
            return loss_of_states(model, params, states, batch), final

        zeros = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), floats(carry.state))
        gates = drawn(gate_key, keeps, batch_size)
        (loss, state), grads = jax.value_and_grad(chunk_loss, has_aux=True)(params, zeros, gates)

        signs = with_signs(probe_keys[0], keeps, batch_size)
        credits, _ = jax.grad(chunk_loss, argnums=1, has_aux=True)(params, zeros, signs)
        flat, restore = ravel_pytree(params)
        direction = restore(jax.random.normal(probe_keys[1], flat.shape, flat.dtype))
        crossed = sum(
            jnp.sum((a * delta).reshape(length, batch_size, -1), axis=-1)
            for a, delta in zip(crossing(model, params, carry.state, batch, signs, direction), credits)
        )
        costs = jnp.zeros_like(carry.costs).at[:length].set(jnp.sum(crossed**2, axis=1))
        costs = running_mean(carry.costs, costs, carry.chunks, self.memory)
        return Estimate(loss, grads), Costs(state, costs, carry.chunks + 1)


def crossing(model, params, state, batch, gates, direction) -> list:
    """a_t = J_t S_{t−1} v for every step `[T, B, ...]`: how the state moves with the parameters' past use, as far as
    the gates before step t let it through."""

    def step(carried, now):
        state, moving = carried
        x, gate = now

        def through(params, h):
            return floats(model.step(params, with_floats(state, h), x))

        zeros = jax.tree.map(jnp.zeros_like, params)
        _, crossed = jax.jvp(through, (params, floats(state)), (zeros, moving))
        through_gate = jax.tree.map(lambda h: h * gate.reshape(-1, *[1] * (h.ndim - 1)).astype(h.dtype), moving)
        _, moved = jax.jvp(through, (params, floats(state)), (direction, through_gate))
        return (model.step(params, state, x), moved), crossed

    nothing = [jnp.zeros_like(leaf) for leaf in floats(state)]
    return lax.scan(step, (state, nothing), (batch.inputs, gates))[1]


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


def with_signs(key, keeps, batch_size):
    """±√(1/p_t), of mean 1 too: `[T, B]`. All second moments are those of `drawn`, and no rare event carries them."""
    positive = jax.random.uniform(key, (len(keeps), batch_size)) < (1 + jnp.sqrt(keeps[:, None])) / 2
    return jnp.where(positive, 1.0, -1.0) / jnp.sqrt(keeps[:, None])
