"""Kernel RNN learning: a leaky influence and a matrix that spreads it, learned from how perturbations spread."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.influence import Carry, InfluenceEstimator
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.gradients.influence.sparse import kept
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.pytree import Real


class Kernel(NamedTuple):
    """M ≈ spread · eligibility, and what spread and decay are learned from."""

    eligibility: Any
    away: Float[Array, " H"]
    """How far a perturbed copy of the state has gone from it, in units of the noise."""
    filtered: Float[Array, " H"]
    """The noise that it had, decayed."""
    slope: Float[Array, " H"]
    """Derivative of `filtered` by the decay rates."""
    spread: Float[Array, "H H"]
    rates: Float[Array, " H"]


@dataclass(frozen=True)
class KeRNL(InfluenceEstimator):
    """Carry M ≈ A B: B leaks, B ← exp(−γ) B + F, each unit at a rate of its own, and A leads from unit to unit.

    A copy of the state is perturbed at every step by noise of size `sigma`; A and γ descend the squared error with
    which A times the noise, decayed at the rates γ, says where the copy has gone. It begins as `rflo(leak)` with A = 1,
    and is that where `rate` is 0. Each sequence of a batch learns an A of its own.
    """

    leak: Real = 0.5
    rate: Real = 1e-3
    sigma: Real = 1e-3
    learns: ClassVar[bool] = True
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Roth, Kanitscheider & Fiete 2019, Kernel RNN learning (KeRNL)"

    def __post_init__(self):
        self.require("leak", "a number above 0 and at most 1", lambda leak: (leak > 0) & (leak <= 1))
        self.require("rate", "a number of at least 0", lambda rate: rate >= 0)
        self.require("sigma", "a number above 0", lambda sigma: sigma > 0)

    def start(self, dynamics: Dynamics):
        zero = jnp.zeros(dynamics.hidden, dynamics.params.dtype)
        rates = zero - jnp.log(self.leak).astype(zero.dtype)
        return Kernel(kept(dynamics, 1).nothing(), zero, zero, zero, jnp.diag(zero + 1), rates)

    def restart(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        anew = self.init(model, params, batch, key)
        learned = anew.influence._replace(spread=carry.influence.spread, rates=carry.influence.rates)
        return Carry(anew.state, learned)

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        return jax.random.normal(self.require_key(key), (*shape, dynamics.hidden), dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: Kernel, noise: Any):
        form, leaks = kept(dynamics, 1), jnp.exp(-influence.rates) * step.goes_on()
        eligibility = form.direct(step) + form.leaked(influence.eligibility, leaks)
        moved = step.flow(step.params, step.state + self.sigma * influence.away)
        away = (moved - step.flow(step.params, step.state)) / self.sigma + noise
        filtered = leaks * influence.filtered + noise
        slope = leaks * (influence.slope - influence.filtered)
        error = away - influence.spread @ filtered
        spread = influence.spread + self.rate * jnp.outer(error, filtered)
        rates = influence.rates + self.rate * (error @ influence.spread) * slope
        return Kernel(eligibility, away, filtered, slope, spread, jnp.maximum(rates, 0))

    def credit(self, dynamics: Dynamics, influence: Kernel, e: Array):
        return kept(dynamics, 1).credit(influence.eligibility, e @ influence.spread)
