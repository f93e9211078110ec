"""From how many sequences on an unbiased estimate has the smaller error than a biased one.

An update averages the estimates of n sequences, or takes 1/n of the step: its squared error is bias² + (V_data +
V_cut) / n. V_data is the variance over sequences of what the estimator gives on average, V_cut the variance of its
draws. Both errors are level at n* = (V_cut + V_data of the unbiased − those of the biased) / bias², and beyond it
unbiased truncation wins. Nothing here is drawn but the sequences.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from tbptt_jax.analysis.moments import expected_gradient, variance
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
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


def by_sequence(est: Estimator, model: Model, params: Params, batch: Batch, first: int | None = None) -> BySequence:
    """The exact moments of an estimator on each sequence of a batch, weighted as if it were alone; the variance of its
    draws, which takes the longest, of the `first` sequences only if that is said."""
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
    """n*, from the N sequences of a batch, which stand for the population."""
    if unbiased.unbiased == "never":
        raise UserError(f"break_even: an unbiased estimator is needed first, got {unbiased}")

    @jax.jit
    def moments(params: Params, batch: Batch) -> Any:
        return [by_sequence(est, model, params, batch) for est in (unbiased, biased)]

    return level(*jax.tree.map(np.asarray, moments(params, batch)))


def level(unbiased: BySequence, biased: BySequence) -> BreakEven:
    """n* from the moments on each sequence."""
    count = min(len(unbiased.drawn), len(biased.drawn))
    if count < 2 * GROUPS:
        raise UserError(f"break_even: at least {2 * GROUPS} sequences are needed to know their noise, got {count}")
    whole = parts_of(unbiased, biased)

    def rest(rows: np.ndarray, left_out: int) -> np.ndarray:
        return rows[np.arange(len(rows)) % GROUPS != left_out]

    without = [
        ratio(parts_of(*(BySequence(rest(one.mean, i), rest(one.drawn, i)) for one in (unbiased, biased))))
        for i in range(GROUPS)
    ]
    n = ratio(whole)
    logs = np.log(without) if np.all(np.isfinite(without)) and np.all(np.array(without) > 0) else None
    if logs is None or not 0 < n < np.inf:
        low, high = (0.0, np.inf) if 0 < n < np.inf else (min(without), max(without))
    else:
        half = Z * np.sqrt((GROUPS - 1) / GROUPS * np.sum((logs - logs.mean()) ** 2))
        low, high = n * np.exp(-half), n * np.exp(half)
    norm, bias, cut, data, spared = whole
    return BreakEven(*map(float, (n, low, high, bias / norm, cut / norm, data / norm, spared / norm)))


def parts_of(unbiased: BySequence, biased: BySequence) -> tuple[float, ...]:
    """(‖g‖², bias², V_cut, V_data of the unbiased one, V_cut + V_data of the biased one), each without bias itself."""
    apart = biased.mean - unbiased.mean
    return (
        squared_mean(unbiased.mean),
        squared_mean(apart),
        float(unbiased.drawn.mean()),
        spread(unbiased.mean),
        float(biased.drawn.mean()) + spread(biased.mean),
    )


def spread(rows: np.ndarray) -> float:
    """Σ Var over the rows."""
    return float(np.sum((rows - rows.mean(0)) ** 2) / (len(rows) - 1))


def squared_mean(rows: np.ndarray) -> float:
    """‖E row‖², freed of the noise of the mean."""
    return float(np.sum(rows.mean(0) ** 2) - spread(rows) / len(rows))


def ratio(parts: tuple[float, ...]) -> float:
    _, bias, cut, data, spared = parts
    noise = cut + data - spared
    if noise <= 0:
        return 0.0
    return noise / bias if bias > 0 else np.inf
