"""Adaptive truncation: the shortest window whose relative bias is expected to be small enough."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.window import Window
from tbptt_jax.forward import loss_weights
from tbptt_jax.gradients.cuts.lags import earlier, pullback, trajectory
from tbptt_jax.models import Batch, Model, Params, sequence_shape
from tbptt_jax.pytree import Real

FITS = ("least squares", "quantile", "max")


class Choice(NamedTuple):
    """The number of lags that was chosen, the bound on its relative bias, and the fitted decay a lag.

    A bound that is not below delta says that no length had a small enough one, and the longest was taken.
    """

    tau: Array
    relative_bias: Array
    decay: Array


class Norms(NamedTuple):
    """The state, and running means over `chunks` chunks: of φ_k = ‖G_k‖, of ‖Σ_{i≤k} G_i‖ (with the readout's part),
    and, for k up to K, of the share of the losses that have k steps before them in the chunk."""

    state: PyTree
    lag: Float[Array, " K"]
    prefix: Float[Array, " K"]
    share: Float[Array, " K+1"]
    chunks: Array


@dataclass(frozen=True)
class Adaptive(Estimator):
    """The smallest window whose relative bias is expected to be below delta.

    φ_k = ‖G_k‖ is measured for the lags below `longest`, as a running mean over chunks. Beyond it, the credit of a loss
    is assumed to fall by β a lag, fitted on log(φ_k / share of the losses that have k steps before them) in the upper
    half of the lags by least squares, or as the 95% "quantile" or the "max" of the slopes. With E(τ) = Σ_{k≥τ} φ_k, the
    relative bias is at most E(τ) / (‖g_τ‖ − E(τ)): the smallest τ in `shortest`..`longest` where that is below delta is
    chosen. If β is not below 1, nothing is known, and τ is `longest`.

    Where credit first fades fast and then slowly, and `longest` sees only the first, the bias is larger than expected.
    """

    delta: Real
    longest: int = field(default=32, metadata={"static": True})
    shortest: int = field(default=1, metadata={"static": True})
    fit: str = "least squares"
    memory: Real = 0.9
    unbiased: ClassVar[str] = "never"
    learns: ClassVar[bool] = True
    reference: ClassVar[str] = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time"

    def __post_init__(self):
        self.require("delta", "a number above 0", lambda delta: delta > 0)
        self.require_whole("longest", 4)
        self.require_whole("shortest", 1)
        self.require("shortest", f"at most longest = {self.longest}", lambda shortest: shortest <= self.longest)
        self.require("memory", "a number from 0 to below 1", lambda memory: (memory >= 0) & (memory < 1))
        if self.fit not in FITS:
            raise UserError(f"{self.name}: fit must be one of {', '.join(FITS)}, got {self.fit!r}")

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        nothing = jnp.zeros(self.longest)
        state = model.initial_state(params, sequence_shape(batch)[1])
        return Norms(state, nothing, nothing, jnp.zeros(self.longest + 1), jnp.zeros((), int))

    def restart(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        return carry._replace(state=model.initial_state(params, sequence_shape(batch)[1]))

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        norms = self.with_chunk(carry, self.measured(model, params, carry.state, batch))
        tau = self.choice(norms).tau
        estimate, state = Window(tau)(model, params, carry.state, batch, None)
        return estimate, norms._replace(state=state)

    def with_chunk(self, carry: Norms, measured: tuple[Array, Array, Array]) -> Norms:
        """The running means after one chunk more."""
        old = jnp.minimum(self.memory, carry.chunks / (carry.chunks + 1.0))  # of the first chunks, the plain mean
        before = carry.lag, carry.prefix, carry.share
        lag, prefix, share = jax.tree.map(lambda mean, now: old * mean + (1 - old) * now, before, measured)
        return Norms(carry.state, lag, prefix, share, carry.chunks + 1)

    def choice(self, carry: Norms) -> Choice:
        """What the norms that were seen make of delta: the τ of the latest chunk."""
        decay = self.decay(carry)
        tail = jnp.where(decay < 1, decay / (1 - jnp.minimum(decay, 0.999999)), jnp.inf)
        # the losses that have more steps before them than were looked at; where there are none, nothing is beyond
        beyond = carry.share[-1] / jnp.where(carry.share[-2] > 0, carry.share[-2], 1)
        beyond = jnp.where(beyond > 0, carry.lag[-1] * beyond * tail, 0.0)
        left_out = jnp.cumsum(carry.lag[::-1])[::-1] - carry.lag + beyond  # by τ = 1..longest
        known = carry.prefix - left_out
        bias = jnp.where(known > 0, left_out / jnp.where(known > 0, known, 1), jnp.inf)
        small = (bias < self.delta) & (jnp.arange(1, self.longest + 1) >= self.shortest)
        tau = jnp.where(jnp.any(small), jnp.argmax(small) + 1, self.longest)
        return Choice(tau, bias[tau - 1], decay)

    def decay(self, carry: Norms) -> Array:
        """β: the factor from lag to lag in the upper half of the lags that there are; 0 where they have vanished."""
        share, lag = carry.share[:-1], carry.lag
        there = (share > 0) & (lag > 0)
        upper = there & (jnp.arange(self.longest) >= jnp.sum(there) // 2)
        logs = jnp.log(jnp.where(upper, lag, 1)) - jnp.log(jnp.where(upper, share, 1))
        if self.fit == "least squares":
            k = jnp.arange(self.longest) - jnp.sum(upper * jnp.arange(self.longest)) / jnp.sum(upper)
            slope = jnp.sum(upper * k * logs) / jnp.sum(upper * k**2)
        else:
            slopes = jnp.where(upper[1:] & upper[:-1], jnp.diff(logs), jnp.nan)
            slope = jnp.nanquantile(slopes, 1.0 if self.fit == "max" else 0.95)
        return jnp.where(jnp.sum(upper) > 1, jnp.exp(slope), 0.0)

    def measured(self, model: Model, params: Params, state: PyTree, batch: Batch) -> tuple[Array, Array, Array]:
        """‖G_k‖ and ‖Σ_{i≤k} G_i‖ of a chunk, and the shares of its losses."""
        run = trajectory(model, params, batch, state)
        pull = pullback(model, params, batch.inputs, run.before)

        def one_lag(carried, _):
            credits, total = carried
            gradient, passed = pull(credits)
            total = jax.tree.map(jnp.add, total, gradient)
            return (earlier(passed), total), (norm(gradient), norm(total))

        _, (lag, prefix) = lax.scan(one_lag, (run.own_credit, run.readout), length=self.longest)
        return lag, prefix, shares(batch, self.longest + 1)


def shares(batch: Batch, lags: int) -> Float[Array, " lags"]:
    """For each lag, the part of the losses' weight that lies on steps with so many steps before them."""
    weights = jnp.sum(loss_weights(batch), axis=1)
    total = jnp.sum(weights)
    later = jnp.cumsum(weights[::-1])[::-1] / jnp.where(total > 0, total, 1)  # at step k and after
    return jnp.concatenate([later, jnp.zeros(lags)])[:lags]


def norm(tree: PyTree) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
