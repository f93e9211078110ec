"""Monte Carlo: bias, variance, error, cosine and signal-to-noise of any estimator, each with an interval.

Samples are drawn in 32 groups, and only sums are kept for each group: memory does not depend on their number. With d_a
the mean of group a minus the exact gradient,

    bias      Σ_{a≠b} ⟨d_a, d_b⟩ / (32 · 31): ‖E g − exact‖², without the variance / samples by which a naive
              ‖mean − exact‖² is inflated; its interval inverts a score test (at a squared bias b the variance is
              4 λ b / 32 + 2 tr S² / (32 · 31)), since a bias near 0 is not normally distributed
    variance  E‖g − E g‖², total over the parameters         jackknife over groups
    mse       E‖g − exact‖² = bias + variance                Student's t over groups
    cosine    E[cos(g, exact)] of single estimates           Student's t over groups
    snr       ‖E g‖² / variance                              jackknife over groups; infinite without variance

The intervals rest on means of groups being normally distributed. Where a rare event carries the variance (randomized
truncation of small keep, whose weights grow like keep^−lag), no affordable number of samples contains it, and sampled
variances and intervals are too small: use `exact` there.

The k-th sample is drawn with `fold_in(key, k)`: estimators measured with the same key share their random numbers, and
the result does not depend on the number of devices over which the groups are spread.
"""

from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.analysis.of_loss import Loss, exact_gradient, fitted
from tbptt_jax.devices import over_devices
from tbptt_jax.errors import UserError, require_count
from tbptt_jax.estimators.base import Estimator, warmed_up
from tbptt_jax.jax_internals import is_traced
from tbptt_jax.leaves import require_random_key
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.noise import noise_key, with_noise

GROUPS = 32


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


class Measurement(NamedTuple):
    """What sampling says of an estimator; bias is the squared norm, so that mse = bias + variance."""

    bias: Interval
    variance: Interval
    mse: Interval
    cosine: Interval
    snr: Interval

    def __str__(self) -> str:
        """A table, where these are numbers: in a compiled function they are not."""
        if any(is_traced(leaf) or jnp.ndim(leaf) for leaf in jax.tree.leaves(tuple(self))):
            return repr(self)
        rows = [
            f"{name:10}{value:12.4g}  [{low:.4g}, {high:.4g}]" for name, (value, low, high) in zip(self._fields, self)
        ]
        return "\n".join(rows)


def measure(
    est: Estimator,
    model: Model | Loss,
    params: Params,
    batch: Batch | PyTree,
    key: Array,
    samples: int = 1024,
    *,
    level: float = 0.95,
    exact: PyTree | None = None,
    warmup: int = 0,
    at_once: int = 16,
) -> Measurement:
    """The bias, variance and direction of an estimator on one batch of fresh sequences, by sampling.

    What a model draws is drawn once, for all samples. It is compiled once for all numbers of samples and all numbers of
    the estimator, and is spread over the local devices, as many of them as divide 32.

    Args:
        est: The estimator.
        model: A Model, or a function `loss(params, batch)`, whose loops a truncating estimator cuts.
        params: The parameters.
        batch: A Batch `[T, B, ...]` for a Model; else whatever the function reads.
        key: For all that is drawn.
        samples: How many estimates: a multiple of 32, at least 64.
        level: How likely the intervals cover, from 0 to 1.
        exact: What the estimates are compared with, shaped as the parameters; None: the full gradient.
        warmup: How often an estimator that learns from chunk to chunk has seen the batch before.
        at_once: How many samples are vectorised together.

    Returns:
        Each figure with its interval.
    """
    if not isinstance(samples, Integral) or samples < 2 * GROUPS or samples % GROUPS:
        raise UserError(f"samples: a multiple of {GROUPS}, at least {2 * GROUPS}, is needed, got {samples!r}")
    require_random_key(key)
    at_once, warmup = require_count("at_once", at_once), require_count("warmup", warmup, 0)
    if not 0 < level < 1:
        raise UserError(f"level: a number between 0 and 1 is needed, got {level!r}")
    est = fitted(est, model)
    if isinstance(model, Model):
        model, batch = with_noise(model, batch, noise_key(key))
    if exact is None:
        exact = jax.jit(exact_gradient, static_argnums=0)(model, params, batch)
    sums, pilot = draw_groups(est, model, params, batch, key, samples // GROUPS, exact, warmup, at_once)
    return summarize(sums, pilot, ravel_pytree(exact)[0], samples, student_quantile(level))


class GroupSums(NamedTuple):
    """Sums over the samples of each group, of d = g − exact: d − pilot, ‖d − pilot‖², ‖d‖² and cos(g, exact).

    The pilot is the d of the first sample: sums about it do not lose a small variance beside a large bias.
    """

    about: Float[Array, "32 P"]
    spread: Float[Array, " 32"]
    square: Float[Array, " 32"]
    cosine: Float[Array, " 32"]


@partial(jax.jit, static_argnames=("model", "at_once"))
def draw_groups(
    est: Estimator,
    model: Any,
    params: Params,
    batch: Any,
    key: Array,
    per_group: Any,
    exact: Any,
    warmup: Any,
    at_once: Any,
) -> tuple[GroupSums, Array]:
    flat_exact = ravel_pytree(exact)[0]
    exact_norm = jnp.linalg.norm(flat_exact)

    carry = warmed_up(est, model, params, batch, jax.random.fold_in(key, 2**32 - 1), warmup)  # no sample's number

    def draw(est, params, carry, batch, key, index):
        init_key, key = jax.random.split(jax.random.fold_in(key, index))
        start = est.restart(model, params, carry, batch, init_key)
        return ravel_pytree(est(model, params, start, batch, key)[0].grads)[0]

    pilot = draw(est, params, carry, batch, key, 0) - flat_exact

    def one(est, params, carry, batch, key, index):
        g = draw(est, params, carry, batch, key, index)
        d = g - flat_exact
        a = d - pilot
        return GroupSums(a, a @ a, d @ d, g @ flat_exact / (jnp.linalg.norm(g) * exact_norm))

    def group(est, params, carry, batch, key, per_group, number):
        def more(state):
            done, sums = state
            index = done + jnp.arange(at_once)
            drawn = jax.vmap(partial(one, est, params, carry, batch, key))(number * per_group + index)
            fresh = index < per_group
            drawn = jax.tree.map(lambda leaf: jnp.where(fresh.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0), drawn)
            return done + at_once, jax.tree.map(lambda total, leaf: total + leaf.sum(0), sums, drawn)

        empty = GroupSums(jnp.zeros_like(flat_exact), *[jnp.zeros_like(exact_norm)] * 3)
        return lax.while_loop(lambda state: state[0] < per_group, more, (jnp.zeros_like(number), empty))[1]

    def groups(whole, numbers):
        return lax.map(partial(group, *whole), numbers)

    return over_devices(groups, (est, params, carry, batch, key, per_group), jnp.arange(GROUPS)), pilot


@partial(jax.jit, static_argnames="samples")
def summarize(sums: GroupSums, pilot: Any, exact: Any, samples: int, quantile: Any) -> Measurement:
    per_group = samples // GROUPS
    about = sums.about / per_group
    d = pilot + about
    products = d @ d.T
    square = jnp.sum(products) - jnp.trace(products)  # Σ_{a≠b} ⟨d_a, d_b⟩

    def statistics(kept):
        """The variance and the debiased signal-to-noise ratio of the groups that are kept: weights 0 or 1, `[32]`."""
        groups = jnp.sum(kept)
        number = groups * per_group
        mean = kept @ about / groups
        variance = jnp.maximum(kept @ sums.spread - number * mean @ mean, 0) / (number - 1)
        length = exact + pilot + mean
        return variance, (length @ length - variance / number) / variance

    def jackknife(of_all, without):
        error = jnp.sqrt((GROUPS - 1) / GROUPS * jnp.sum((without - jnp.mean(without)) ** 2))
        error = jnp.where(jnp.isfinite(of_all), error, 0)  # no variance at all: the ratio is infinite, and sure
        return Interval(of_all, of_all - quantile * error, of_all + quantile * error)

    def student(per_sample):
        mean = jnp.mean(per_sample)
        error = jnp.std(per_sample, ddof=1) / jnp.sqrt(GROUPS)
        return Interval(mean, mean - quantile * error, mean + quantile * error)

    variance, snr = statistics(jnp.ones(GROUPS))
    variances, snrs = jax.vmap(statistics)(1 - jnp.eye(GROUPS))
    return Measurement(
        squared_bias(square / (GROUPS * (GROUPS - 1)), d, quantile),
        jackknife(variance, variances),
        student(sums.square / per_group),
        student(sums.cosine / per_group),
        jackknife(snr, snrs),
    )


def squared_bias(value: Any, d: Array, quantile: Any) -> Interval:
    """All b ≥ 0 with (value − b)² ≤ quantile² (4 λ b / 32 + 2 tr S² / (32 · 31)), S the covariance of the group means
    and λ its size in the direction of their mean."""
    mean = jnp.mean(d, axis=0)
    centred = (d - mean) @ (d - mean).T / (GROUPS - 1)
    trace, trace_of_square = jnp.trace(centred), jnp.sum(centred**2)
    spread = (trace_of_square - trace**2 / (GROUPS - 1)) * (GROUPS - 1) ** 2 / ((GROUPS - 2) * (GROUPS + 1))
    along = jnp.sum(((d - mean) @ mean) ** 2) / (GROUPS - 1) / jnp.where(mean @ mean == 0, 1, mean @ mean)
    noise = quantile**2 * 2 * jnp.maximum(spread, 0) / (GROUPS * (GROUPS - 1))
    middle = value + 2 * quantile**2 * along / GROUPS
    half = jnp.sqrt(jnp.maximum(middle**2 - value**2 + noise, 0))
    return Interval(value, jnp.maximum(middle - half, 0), jnp.maximum(middle + half, 0))


def student_quantile(level: float) -> float:
    """The two-sided quantile of Student's t with 31 degrees of freedom."""
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(GROUPS - 1, (1 + level) / 2))
