"""The probabilities for which randomized truncation has the least variance, and those of a telescope."""

from functools import partial
from numbers import Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from tbptt_jax.analysis.moments import independent_variances, over_sequences
from tbptt_jax.analysis.precision import exactly
from tbptt_jax.analysis.spectrum import LagSpectrum
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.laws import Independent
from tbptt_jax.estimators.optimal import keeps_for
from tbptt_jax.estimators.telescope import Telescope
from tbptt_jax.jax_internals import is_traced
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets

TURNS, DAMPING = 100, 0.2  # at 0.5, long credit and many cuts make it turn around its aim


@exactly
@takes_resets
def optimal_keeps(model: Model, params: Params, batch: Batch, keep: Array | float) -> Float[Array, " T"]:
    """The probabilities to keep of independent gates whose variance on a batch is least, for a given mean.

    Where the variance is least, p_t is proportional to the root of its derivative by v_t = 1/p_t − 1; that is repeated,
    damped, from equal probabilities on, and the best of all turns is returned.

    Args:
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`.
        keep: Their mean after the first step, which has nothing to cut.

    Returns:
        The probabilities `[T]`, for `scheduled(keeps)`.
    """
    is_number = isinstance(keep, Real | Array | np.ndarray) and np.shape(keep) == ()
    if not is_traced(keep) and not (is_number and 0 < keep <= 1):
        raise UserError(f"keep: a number above 0 and at most 1 is needed, got {keep!r:.80}")
    return of_least_variance(model, params, batch, jnp.asarray(keep, float))


@partial(jax.jit, static_argnames="model")
def of_least_variance(model: Model, params: Params, batch: Batch, keep: Array) -> Float[Array, " T"]:
    length, _ = sequence_shape(batch)

    def variance(v):
        moments = partial(independent_variances, Independent(jnp.ones(length), v))
        return jnp.sum(over_sequences(moments, model, params, batch, shared=False))

    def turn(state, _):
        keeps, best, least = state
        value, slopes = jax.value_and_grad(variance)(1 / keeps - 1)
        best, least = jnp.where(value < least, keeps, best), jnp.minimum(value, least)
        wanted = keeps_for(jnp.sqrt(jnp.maximum(slopes, 0)), keep)
        between = jnp.exp(DAMPING * jnp.log(wanted) + (1 - DAMPING) * jnp.log(keeps))
        return (keeps_for(between, keep), best, least), None

    start = jnp.full(length, keep).at[0].set(1.0)
    (_, best, _), _ = lax.scan(turn, (start, start, jnp.inf), length=TURNS)
    return best


def optimal_chances(est: Telescope, spectrum: LagSpectrum, cost: float | None = None) -> tuple[float, ...]:
    """The optimal chances for a telescope's horizons, from a spectrum by lag; N = n costs H_n J-products.

    For Russian roulette they have the least variance of all chances with a given expected cost:
    P(N ≥ n) ∝ √(c_n / (H_n − H_{n−1})), at most 1, with c_n = ‖R_n‖² − ‖R_{n+1}‖² and R_n = Σ_{m≥n} Δ_m, where
    neighbours are pooled so that the chances do not rise. For a single sample they have the least product of second
    moment and expected cost: q(n) ∝ ‖Δ_n‖ / √H_n.

    Args:
        est: The telescope, which says its horizons and whether it takes a single sample.
        spectrum: What `lag_spectrum` gives, of all lags.
        cost: The expected cost that roulette may have, which needs one; a single sample does not use it.

    Returns:
        The chances, for `telescope(chances=...)`.

    References:
        Beatson & Adams 2019, Efficient optimization of loops and limits with randomized telescoping sums.
    """
    length = spectrum.gram.shape[0]
    horizons = np.array(est.horizons(length))
    level = np.searchsorted(horizons, np.arange(length), side="right")
    gram, levels = np.asarray(spectrum.gram, float), range(1, len(horizons))
    if est.single:
        squares = np.array([gram[np.ix_(level == n, level == n)].sum() for n in levels])
        weights = np.sqrt(np.maximum(squares, 0)) / np.sqrt(horizons[1:])
        return tuple((weights / weights.sum()).tolist())
    if cost is None or not horizons[0] < cost <= horizons[-1]:
        raise UserError(f"cost: a number above {horizons[0]} and at most {horizons[-1]} is needed, got {cost!r}")
    rest = np.array([gram[np.ix_(level >= n, level >= n)].sum() for n in [*levels, len(horizons)]])
    steps = np.diff(horizons)
    pools: list[list[float]] = []  # [Σ c, Σ (H_n − H_{n−1}), how many]
    for c, step in zip(np.maximum(rest[:-1] - rest[1:], 0), steps):
        pools.append([c, step, 1])
        while len(pools) > 1 and pools[-1][0] / pools[-1][1] > pools[-2][0] / pools[-2][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last)]
    tails = np.concatenate([[(c / step) ** 0.5] * int(many) for c, step, many in pools])
    tails = np.maximum(tails, 1e-6 * max(tails.max(), 1e-300))
    low, high = 0.0, 1 / tails.min()
    for _ in range(200):
        middle = (low + high) / 2
        enough = horizons[0] + steps @ np.minimum(1, middle * tails) >= cost
        low, high = (low, middle) if enough else (middle, high)
    return tuple(np.minimum(1, high * tails).tolist())
