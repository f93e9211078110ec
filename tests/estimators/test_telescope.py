"""Randomized telescopes: the mean over all horizons, the formula, and the best chances against brute force."""

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.estimators.base import Truncation
from tests.problems import (
    BATCH,
    LENGTH,
    QUICK,
    distance,
    full_gradient,
    gradient_looking_back,
    gradients_by_lag,
    problem,
    scaled,
    subtract,
    total,
)
from tests.tiers import cases


def at_levels(est, name):
    """The estimates for every N."""
    model, params, batch = problem(name)

    class At(Truncation):
        unbiased = "never"

        def cut(self, key, length, batch_size):
            return est.at_level(key, length)

    def all_of_them(params):
        start = model.initial_state(params, BATCH)
        return [At()(model, params, start, batch, jnp.array(n))[0].grads for n in levels(est)]

    return jax.jit(all_of_them)(params)


def levels(est):
    return range(est.single, len(est.horizons(LENGTH)))


def distribution(est):
    chances = np.asarray(est.probabilities(len(est.horizons(LENGTH)) - 1))
    if est.single:
        return chances
    tail = np.concatenate([[1.0], chances, [0.0]])
    return tail[:-1] - tail[1:]


TELESCOPES = [
    tb.Telescope(0.6),
    tb.Telescope(0.6, first=2, base=3),
    tb.Telescope(0.6, single=True),
    tb.Telescope(first=2, chances=(0.9, 0.2)),
]


@pytest.mark.parametrize("est", cases(TELESCOPES, TELESCOPES[1:3]), ids=str)
@pytest.mark.parametrize("name", cases(["tanh", "lstm"], QUICK))
def test_the_mean_of_a_telescope_over_all_horizons_is_the_full_gradient(est, name):
    chances = distribution(est)
    assert abs(chances.sum() - 1) < 1e-12
    mean = total(scaled(p, g) for p, g in zip(chances, at_levels(est, name)))
    assert distance(mean, full_gradient(name)) < 1e-12


def test_a_telescope_is_what_its_formula_says():
    horizons = [1, 2, 4, 6]
    assert tb.Telescope(0.6).horizons(LENGTH) == horizons and tb.Telescope(first=9).horizons(LENGTH) == [6]
    windows = [gradient_looking_back("tanh", lambda t, h=h: h - 1) for h in horizons]
    deltas = [subtract(b, a) for a, b in pairwise(windows)]
    roulette = at_levels(tb.Telescope(0.6), "tanh")
    single = at_levels(tb.Telescope(0.6, single=True), "tanh")
    q = np.array([0.6, 0.36, 0.216]) / 1.176
    for n in range(1, 4):
        by_hand = total([windows[0], *(scaled(0.6**-m, deltas[m - 1]) for m in range(1, n + 1))])
        assert distance(roulette[n], by_hand) < 1e-12
        assert distance(single[n - 1], total([windows[0], scaled(1 / q[n - 1], deltas[n - 1])])) < 1e-12
    assert distance(roulette[0], windows[0]) < 1e-12


@pytest.mark.parametrize("est", TELESCOPES, ids=str)
def test_a_loss_of_the_last_state_is_weighted_as_one_of_the_last_step(est):
    class At(Truncation):
        unbiased = "never"

        def cut(self, key, length, batch_size):
            return est.at_level(key, length)

    def sums(xs, n):
        return tb.scan(lambda c, x: (c + x, c + x), jnp.zeros(()), xs, truncation=At(), key=n)

    for n in levels(est):
        slope = jax.jit(jax.jacrev(lambda xs, n=n: sums(xs, jnp.array(n))))
        final, steps = slope(jnp.zeros(LENGTH))
        assert np.array_equal(final[:-1], steps[-1][:-1])
        assert np.allclose(steps[-1][::-1], est.at_level(n, LENGTH).weights)


@pytest.mark.parametrize("est", TELESCOPES, ids=str)
def test_horizons_are_drawn_by_their_probabilities(est):
    """z-tests with a false alarm of 1e-6 each."""
    count = len(est.horizons(LENGTH)) - 1
    drawn = np.asarray(jax.vmap(lambda key: est.draw(key, count))(jax.random.split(jax.random.key(0), 20_000)))
    for n, p in zip(levels(est), distribution(est)):
        assert abs(np.mean(drawn == n) - p) <= 4.9 * (p * (1 - p) / 20_000) ** 0.5


def roulette_variance(tails, gram, horizons):
    """By enumeration of N, from the Gram matrix of the lags."""
    lags = np.arange(len(gram))
    level = np.searchsorted(horizons, lags, side="right")
    tails = np.concatenate([[1.0], tails, [0.0]])
    means, second = np.zeros(len(gram)), 0.0
    for n in range(len(horizons)):
        weights = (level <= n) / tails[level]
        means += (tails[n] - tails[n + 1]) * weights
        second += (tails[n] - tails[n + 1]) * weights @ gram @ weights
    assert np.allclose(means, 1)
    return second - gram.sum()


def test_chances_of_a_roulette_have_the_least_variance_at_their_cost():
    """Over a grid of all chances of two levels that cost no more."""
    spectrum = tb.exact.lag_spectrum(*problem("tanh"))
    est = tb.Telescope(first=1, base=3)
    horizons, gram = np.array(est.horizons(LENGTH)), np.asarray(spectrum.gram)
    for cost in (2.5, 4.0, 5.5):
        ours = np.asarray(tb.exact.optimal_chances(est, spectrum, cost))
        assert 1 + np.diff(horizons) @ ours == pytest.approx(cost, abs=1e-9)
        grid = [(a, b) for a, b in product(np.linspace(0.01, 1, 100), repeat=2) if a >= b and 1 + 2 * a + 3 * b <= cost]
        least = min(roulette_variance(pair, gram, horizons) for pair in grid)
        assert roulette_variance(ours, gram, horizons) <= least + 1e-12
    assert tb.exact.optimal_chances(est, spectrum, 6.0) == pytest.approx((1.0, 1.0))
    with pytest.raises(ValueError, match="cost: a number above 1 and at most 6 is needed, got None"):
        tb.exact.optimal_chances(est, spectrum)


def test_chances_of_a_single_sample_have_the_least_second_moment_for_their_cost():
    spectrum = tb.exact.lag_spectrum(*problem("tanh"))
    est = tb.Telescope(first=1, base=3, single=True)
    horizons, gram = np.array(est.horizons(LENGTH)), np.asarray(spectrum.gram)
    level = np.searchsorted(horizons, np.arange(LENGTH), side="right")
    squares = np.array([np.sum(gram[np.ix_(level == n, level == n)]) for n in (1, 2)])
    ours = np.asarray(tb.exact.optimal_chances(est, spectrum))
    assert ours.sum() == pytest.approx(1)
    grid = [np.array([q, 1 - q]) for q in np.linspace(0.005, 0.995, 199)]
    assert (squares / ours).sum() * (horizons[1:] @ ours) <= min((squares / q).sum() * (horizons[1:] @ q) for q in grid)


def test_lags_and_their_weights():
    """Σ_k c_k G_k of a telescope is that of its lags."""
    est = tb.Telescope(0.5, base=2)
    weights = np.asarray(est.at_level(2, LENGTH).weights)
    by_lag = gradients_by_lag("tanh")
    assert np.array_equal(weights, [1, 2, 4, 4, 0, 0])
    assert distance(at_levels(est, "tanh")[2], total(scaled(w, g) for w, g in zip(weights, by_lag))) < 1e-12
