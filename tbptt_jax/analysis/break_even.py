"""From how many sequences on an unbiased estimate has the smaller error than a biased one.

An update averages the estimates of n sequences, or takes 1/n of the step: its squared error is bias² + (V_data +
V_cut) / n. V_data is the variance over sequences of what the estimator gives on average, V_cut the variance of its
draws. Both errors are level at n* = (V_cut + V_data of the unbiased − those of the biased) / bias², and beyond it
unbiased truncation wins. Nothing here is drawn but the sequences.

A squared error counts a gradient that is merely shorter as wrong, which a learning rate undoes. By efficiency, what a
step of the best length is expected to gain, ⟨g, E ĝ⟩² / (‖g‖² E‖ĝ‖²), both are level at (c² V_u / ‖g‖² − V_b / ‖b‖²) /
(1 − c²), with b the mean of the biased one, c its cosine with g, V_u and V_b all of the variance.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from tbptt_jax.analysis.moments import expected_gradient, variance
from tbptt_jax.analysis.precision import exactly
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator, require_estimator
from tbptt_jax.models import Batch, Model, Params, sequence_shape

GROUPS = 16
"""Of sequences, left out one after the other to see how much hangs on them."""
Z = 1.96


class BySequence(NamedTuple):
    """Of N sequences, each a batch of its own: what an estimator gives on average `[N, P]`, and the variance of its
    draws, of the first few `[M]`."""

    mean: Any
    drawn: Any


class BreakEven(NamedTuple):
    """Where two estimators are level, and what that is made of. `sequences` may be infinite (nothing is gained by the
    unbiased one, as far as these sequences show) or 0 (it is better from the first on)."""

    sequences: float
    """n*."""
    low: float
    """Where n* lies with 95 %, by leaving groups of the sequences out."""
    high: float
    bias_squared: float
    """Of the biased one, in ‖g‖²; freed of the noise of the sequences, and so below 0 where that hides it."""
    cut: float
    """V_cut of the unbiased one, of one sequence, in ‖g‖²."""
    data: float
    """V_data of the unbiased one: what one sequence differs from all."""
    spared: float
    """V_cut + V_data of the biased one."""
    efficiency: float
    """The n from which on a step of the best length gains more by the unbiased one."""
    efficiency_low: float
    efficiency_high: float
    cosine: float
    """Between the mean of the biased one and the gradient, freed of the noise of the sequences."""


@exactly
def by_sequence(est: Estimator, model: Model, params: Params, batch: Batch, first: int | None = None) -> BySequence:
    """The exact moments of an estimator on each sequence of a batch, weighted as if it were alone.

    Args:
        est: The estimator; `exact` must know its law.
        model: The model.
        params: Its parameters.
        batch: N sequences.
        first: Of how many of them the variance of the draws is taken, which takes the longest; None: of all.

    Returns:
        The means `[N, P]`, and the variances of the first few.
    """
    length, count = sequence_shape(batch)
    if est.law(length) is None:
        raise UserError(f"break_even: an estimator whose law is known is needed, got {est}")

    def alone(i: Array) -> Batch:
        return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, i, 1, axis=1), batch)

    def mean(i: Array) -> Array:
        return ravel_pytree(expected_gradient(est, model, params, alone(i)))[0]

    def drawn(i: Array) -> Array:
        return variance(est, model, params, alone(i))

    return BySequence(lax.map(mean, jnp.arange(count)), lax.map(drawn, jnp.arange(min(count, first or count))))


def break_even(unbiased: Estimator, biased: Estimator, model: Model, params: Params, batch: Batch) -> BreakEven:
    """From how many sequences an update on an unbiased estimator beats a biased one: n*, with an interval.

    Args:
        unbiased: The estimator whose variance falls with the number of sequences; `exact` must know its law.
        biased: The one whose bias stays; the same holds.
        model: The model.
        params: Its parameters.
        batch: N sequences, which stand for the population.

    Returns:
        n*, and what it is made of.
    """
    for est in (unbiased, biased):
        require_estimator(est)
    if unbiased.unbiased == "never":
        raise UserError(f"break_even: an unbiased estimator is needed first, got {unbiased}")

    @jax.jit
    def moments(params: Params, batch: Batch) -> Any:
        return [by_sequence(est, model, params, batch) for est in (unbiased, biased)]

    return level(*jax.tree.map(np.asarray, moments(params, batch)))


def level(unbiased: BySequence, biased: BySequence) -> BreakEven:
    """`break_even`, from moments that are known: those of many pairs are computed once.

    Args:
        unbiased: The moments of the unbiased estimator on each sequence.
        biased: Those of the biased one, on the same sequences.

    Returns:
        n*, and what it is made of.
    """
    count = min(len(unbiased.drawn), len(biased.drawn))
    if count < 2 * GROUPS:
        raise UserError(f"break_even: at least {2 * GROUPS} sequences are needed to know their noise, got {count}")
    whole = Parts.of(unbiased, biased)

    def rest(rows: np.ndarray, left_out: int) -> np.ndarray:
        return rows[np.arange(len(rows)) % GROUPS != left_out]

    without = [
        Parts.of(*(BySequence(rest(one.mean, i), rest(one.drawn, i)) for one in (unbiased, biased)))
        for i in range(GROUPS)
    ]
    by_error = interval(whole.by_error, [parts.by_error for parts in without])
    by_efficiency = interval(whole.by_efficiency, [parts.by_efficiency for parts in without])
    scaled = [part / whole.norm for part in (whole.bias, whole.cut, whole.data, whole.spared)]
    cosine = np.sqrt(max(whole.cosine_squared, 0.0))
    return BreakEven(*map(float, (*by_error, *scaled, *by_efficiency, cosine)))


def interval(n: float, without: list[float]) -> tuple[float, float, float]:
    """A break-even number and where it lies, from those without each group of the sequences; by the jackknife of
    logarithms where all are finite."""
    if not 0 < n < np.inf:
        return n, min(without), max(without)
    if not np.all(np.isfinite(without)) or min(without) <= 0:
        return n, 0.0, np.inf
    logs = np.log(without)
    half = Z * np.sqrt((GROUPS - 1) / GROUPS * np.sum((logs - logs.mean()) ** 2))
    return n, n * np.exp(-half), n * np.exp(half)


class Parts(NamedTuple):
    """What both break-even numbers are made of, each freed of the noise of the sequences."""

    norm: float
    """‖g‖²."""
    biased_norm: float
    """‖b‖²."""
    product: float
    """⟨g, b⟩."""
    bias: float
    """‖b − g‖²."""
    cut: float
    """V_cut of the unbiased one."""
    data: float
    """V_data of the unbiased one."""
    spared: float
    """V_cut + V_data of the biased one."""

    @classmethod
    def of(cls, unbiased: BySequence, biased: BySequence) -> "Parts":
        return cls(
            squared_mean(unbiased.mean),
            squared_mean(biased.mean),
            product_of_means(unbiased.mean, biased.mean),
            squared_mean(biased.mean - unbiased.mean),
            float(unbiased.drawn.mean()),
            spread(unbiased.mean),
            float(biased.drawn.mean()) + spread(biased.mean),
        )

    @property
    def by_error(self) -> float:
        return ratio(self.cut + self.data - self.spared, self.bias)

    @property
    def cosine_squared(self) -> float:
        """0 where the noise of the sequences hides a mean."""
        norms = self.norm * self.biased_norm
        return self.product**2 / norms if min(self.norm, self.biased_norm) > 0 else 0.0

    @property
    def by_efficiency(self) -> float:
        if min(self.norm, self.biased_norm) <= 0:
            return np.inf
        noise = self.cosine_squared * (self.cut + self.data) / self.norm - self.spared / self.biased_norm
        return ratio(noise, 1 - self.cosine_squared)


def ratio(noise: float, bias: float) -> float:
    """How often noise must be averaged to be as small as the bias is."""
    if noise <= 0:
        return 0.0
    return noise / bias if bias > 0 else np.inf


def spread(rows: np.ndarray) -> float:
    """Σ Var over the rows."""
    return float(np.sum((rows - rows.mean(0)) ** 2) / (len(rows) - 1))


def squared_mean(rows: np.ndarray) -> float:
    """‖E row‖², freed of the noise of the mean."""
    return product_of_means(rows, rows)


def product_of_means(a: np.ndarray, b: np.ndarray) -> float:
    """⟨E a, E b⟩ of rows that belong together, freed of the noise of the means."""
    shared = np.sum((a - a.mean(0)) * (b - b.mean(0))) / (len(a) - 1)
    return float(np.sum(a.mean(0) * b.mean(0)) - shared / len(a))
