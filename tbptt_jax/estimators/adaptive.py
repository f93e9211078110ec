"""Adaptive truncation: the shortest window whose relative bias is expected to be small enough."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.pytree import Real
from tbptt_jax.estimators.window import Window
from tbptt_jax.gradients.lags import earlier, pullback, unroll

FITS = ("least squares", "quantile", "max")


class Choice(NamedTuple):
    """The number of lags that was chosen, the bound on its relative bias, and the fitted decay a lag.

    A bound that is not below delta says that no length had a small enough one, and the longest was taken.
    """

    tau: Array
    relative_bias: Array
    decay: Array


class Norms(NamedTuple):
    """What is streamed: φ_k = ‖G_k‖ and ‖Σ_{i≤k} G_i‖ (with the readout's part), running means over `chunks` chunks."""

    state: PyTree
    lag: Float[Array, "K"]
    prefix: Float[Array, "K"]
    chunks: Array


@dataclass(frozen=True)
class Adaptive(Estimator):
    """The smallest window whose relative bias is expected to be below delta.

    φ_k = ‖G_k‖ is measured for the lags below `longest`, as a running mean over chunks, and beyond it is assumed to
    fall as φ β^k, β fitted on the log-norms of the upper half of them by least squares, or as the 95% "quantile" or the
    "max" of the slopes. With E(τ) = Σ_{k≥τ} φ_k, the relative bias is at most E(τ) / (‖g_τ‖ − E(τ)): the smallest τ in
    `shortest`..`longest` where that is below delta is chosen. If β is not below 1, nothing is known: τ is `longest`.
    """

    delta: Real
    longest: int = field(default=32, metadata={"static": True})
    shortest: int = field(default=1, metadata={"static": True})
    fit: str = "least squares"
    memory: Real = 0.9
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time"

    def __post_init__(self):
        self.require("delta", "a number above 0", lambda delta: delta > 0)
        self.require_whole("longest", 4)
        self.require_whole("shortest", 1)
        self.require("shortest", f"at most longest = {self.longest}", lambda shortest: shortest <= self.longest)
        self.require("memory", "a number from 0 to below 1", lambda memory: (memory >= 0) & (memory < 1))
        if self.fit not in FITS:
            raise ValueError(f"adaptive: fit must be one of {', '.join(FITS)}, got {self.fit!r}")

    def init(self, model, params, batch_size, key):
        nothing = jnp.zeros(self.longest)
        return Norms(model.initial_state(params, batch_size), nothing, nothing, jnp.zeros((), int))

    def restart(self, model, params, carry, batch_size, key):
        return carry._replace(state=model.initial_state(params, batch_size))

    def __call__(self, model, params, carry, batch, key):
        lag, prefix = self.measured(model, params, carry.state, batch)
        old = jnp.where(carry.chunks > 0, self.memory, 0.0)
        mean_lag, mean_prefix = old * carry.lag + (1 - old) * lag, old * carry.prefix + (1 - old) * prefix
        norms = carry._replace(lag=mean_lag, prefix=mean_prefix, chunks=carry.chunks + 1)
        tau = self.choice(norms).tau
        estimate, state = Window(tau)(model, params, carry.state, batch, None)
        return estimate, norms._replace(state=state)

    def choice(self, carry: Norms) -> Choice:
        """What the norms that were seen make of delta: the τ of the latest chunk."""
        decay = self.decay(carry.lag)
        beyond = jnp.where(decay < 1, carry.lag[-1] * decay / (1 - jnp.minimum(decay, 0.999999)), jnp.inf)
        left_out = jnp.cumsum(carry.lag[::-1])[::-1] - carry.lag + beyond  # by τ = 1..longest
        known = carry.prefix - left_out
        bias = jnp.where(known > 0, left_out / jnp.where(known > 0, known, 1), jnp.inf)
        small = (bias < self.delta) & (jnp.arange(1, self.longest + 1) >= self.shortest)
        tau = jnp.where(jnp.any(small), jnp.argmax(small) + 1, self.longest)
        return Choice(tau, bias[tau - 1], decay)

    def decay(self, norms: Float[Array, "K"]) -> Array:
        """β: the factor from lag to lag in the upper half of the lags; 0 where they have vanished."""
        first = self.longest // 2
        logs = jnp.log(jnp.maximum(norms[first:], jnp.finfo(norms.dtype).tiny))
        if self.fit == "least squares":
            x = jnp.arange(len(logs)) - (len(logs) - 1) / 2
            slope = x @ logs / (x @ x)
        else:
            slopes = jnp.diff(logs)
            slope = jnp.max(slopes) if self.fit == "max" else jnp.quantile(slopes, 0.95)
        return jnp.where(norms[first] > 0, jnp.exp(slope), 0.0)

    def measured(self, model, params, state, batch) -> tuple[Array, Array]:
        """‖G_k‖ and ‖Σ_{i≤k} G_i‖ of a chunk."""
        run = unroll(model, params, batch, state)
        pull = pullback(model, params, batch.inputs, run.before)

        def one_lag(carried, _):
            credits, total = carried
            gradient, passed = pull(credits)
            total = jax.tree.map(jnp.add, total, gradient)
            return (earlier(passed), total), (norm(gradient), norm(total))

        _, (lag, prefix) = lax.scan(one_lag, (run.own_credit, run.readout), length=self.longest)
        return lag, prefix


def norm(tree: PyTree) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
