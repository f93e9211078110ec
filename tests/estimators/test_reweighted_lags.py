"""Telescopes, adaptive windows and the best gates: by enumeration, by their bounds, against brute force."""

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.estimators.adaptive import FITS
from tbptt_jax.estimators.base import Truncation, settled
from tbptt_jax.estimators.optimal import FLOOR, best_keeps
from tbptt_jax.gradients.cut_costs import crossing_credit
from tests.problems import (
    BATCH,
    LENGTH,
    distance,
    full_gradient,
    gradient_looking_back,
    gradients_by_lag,
    problem,
    scaled,
    subtract,
    total,
)


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


@pytest.mark.parametrize("est", TELESCOPES, ids=str)
@pytest.mark.parametrize("name", ["tanh", "lstm"])
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
        ours = np.asarray(tb.exact.telescope_chances(est, spectrum, cost))
        assert 1 + np.diff(horizons) @ ours == pytest.approx(cost, abs=1e-9)
        grid = [(a, b) for a, b in product(np.linspace(0.01, 1, 100), repeat=2) if a >= b and 1 + 2 * a + 3 * b <= cost]
        least = min(roulette_variance(pair, gram, horizons) for pair in grid)
        assert roulette_variance(ours, gram, horizons) <= least + 1e-12
    assert tb.exact.telescope_chances(est, spectrum, 6.0) == pytest.approx((1.0, 1.0))
    with pytest.raises(ValueError, match="cost: a number above 1 and at most 6 is needed, got None"):
        tb.exact.telescope_chances(est, spectrum)


def test_chances_of_a_single_sample_have_the_least_second_moment_for_their_cost():
    spectrum = tb.exact.lag_spectrum(*problem("tanh"))
    est = tb.Telescope(first=1, base=3, single=True)
    horizons, gram = np.array(est.horizons(LENGTH)), np.asarray(spectrum.gram)
    level = np.searchsorted(horizons, np.arange(LENGTH), side="right")
    squares = np.array([np.sum(gram[np.ix_(level == n, level == n)]) for n in (1, 2)])
    ours = np.asarray(tb.exact.telescope_chances(est, spectrum))
    assert ours.sum() == pytest.approx(1)
    grid = [np.array([q, 1 - q]) for q in np.linspace(0.005, 0.995, 199)]
    assert (squares / ours).sum() * (horizons[1:] @ ours) <= min((squares / q).sum() * (horizons[1:] @ q) for q in grid)


def test_adaptive_finds_the_shortest_window_whose_bias_is_small():
    """Norms that fall as 0.5^k are extended exactly; the bound is that of the triangle inequality."""
    est = tb.Adaptive(0.1, longest=8)
    lag = 0.5 ** jnp.arange(8)
    ones = {"prefix": jnp.full(8, 3.0), "share": jnp.ones(9), "chunks": jnp.array(1)}
    carry = est.init(*problem("tanh")[:2], BATCH, None)._replace(lag=lag, **ones)
    choice = est.choice(carry)
    left_out = {tau: 0.5**tau / 0.5 for tau in range(1, 9)}
    bias = {tau: left_out[tau] / (3 - left_out[tau]) for tau in left_out}
    by_hand = min(tau for tau in bias if bias[tau] < 0.1)
    assert int(choice.tau) == by_hand and float(choice.relative_bias) == pytest.approx(bias[by_hand], abs=1e-12)
    assert float(choice.decay) == pytest.approx(0.5, abs=1e-12)
    for fit in ("max", "quantile"):
        assert float(tb.Adaptive(0.1, longest=8, fit=fit).decay(carry)) == pytest.approx(0.5, abs=1e-12)
    # of losses all along a short chunk, fewer and fewer have many steps before them: the fit is of what one loss sees
    share = 1 - jnp.arange(9) / 8
    shrinking = carry._replace(lag=lag * share[:8], share=share)
    for fit in FITS:
        assert float(tb.Adaptive(0.1, longest=8, fit=fit).decay(shrinking)) == pytest.approx(0.5, abs=1e-12)
    left_out = {tau: sum(0.5**k * (1 - k / 8) for k in range(tau, 8)) for tau in range(1, 9)}  # and nothing beyond
    by_hand = min(tau for tau in left_out if left_out[tau] / (3 - left_out[tau]) < 0.1)
    choice = est.choice(shrinking)
    assert int(choice.tau) == by_hand
    assert float(choice.relative_bias) == pytest.approx(left_out[by_hand] / (3 - left_out[by_hand]), abs=1e-12)
    growing = est.choice(carry._replace(lag=1.1 ** jnp.arange(8)))
    assert int(growing.tau) == 8 and float(growing.relative_bias) == np.inf and float(growing.decay) > 1


def test_adaptive_measures_the_norms_of_the_lags_and_takes_that_window():
    model, params, batch = problem("tanh")
    est = tb.Adaptive(1e-9, longest=LENGTH)
    estimate, carry = jax.jit(lambda p: est(model, p, est.init(model, p, BATCH, None), batch, None))(params)
    spectrum = tb.exact.lag_spectrum(model, params, batch)
    assert np.allclose(carry.lag, spectrum.norms, rtol=1e-10)
    assert distance(estimate.grads, full_gradient("tanh")) < 1e-12
    norm = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(full_gradient("tanh"))) ** 0.5
    assert float(carry.prefix[-1]) == pytest.approx(norm, abs=1e-12)


def test_the_bias_of_adaptive_stays_below_delta_where_credit_fades():
    """Measured exactly, on a network of small radius; and its own bound holds."""
    model = tb.rnn("tanh", 2, 8, 2, "squared", radius=0.6)
    params = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    batch = tb.Batch(jax.random.normal(keys[0], (48, 4, 2)), jax.random.normal(keys[1], (48, 4, 2)))
    exact = jax.jit(lambda p: jax.grad(tb.loss, 1)(model, p, batch))(params)
    size = distance_2(exact, scaled(0, exact))
    chosen = []
    for delta in (0.5, 0.1, 0.01):
        est = tb.Adaptive(delta, longest=24)
        estimate, carry = jax.jit(lambda p, e=est: e(model, p, e.init(model, p, 4, None), batch, None))(params)
        choice = est.choice(carry)
        relative = distance_2(estimate.grads, exact) / size
        assert relative <= float(choice.relative_bias) < delta
        chosen.append(int(choice.tau))
    assert chosen[0] < chosen[1] < chosen[2] < 24


def test_adaptive_is_fooled_where_credit_fades_fast_and_then_slowly():
    """A linear network of two units: one forgets by half a step, one by 0.98, of which the loss sees a hundredth.

    Among 8 lags little of the slow one shows, and the bias is more than expected and than delta; among 64 it does.
    """
    model = tb.rnn("linear", 1, 2, 1, "squared")
    params = {
        "cell": {"W_hx": jnp.ones((2, 1)), "W_hh": jnp.diag(jnp.array([0.5, 0.98]))},
        "readout": {"W_qh": jnp.array([[1.0, 0.01]]), "b_q": jnp.zeros(1)},
    }
    inputs = jax.random.normal(jax.random.split(jax.random.key(1))[0], (200, 4, 1))
    batch = tb.Batch(inputs, jnp.full((200, 4, 1), 3.0))
    exact = jax.jit(lambda p: jax.grad(tb.loss, 1)(model, p, batch))(params)
    found = {}
    for longest in (8, 64):
        est = tb.Adaptive(0.1, longest=longest)
        estimate, carry = jax.jit(lambda p, e=est: e(model, p, e.init(model, p, 4, None), batch, None))(params)
        relative = distance_2(estimate.grads, exact) / distance_2(exact, scaled(0, exact))
        found[longest] = float(est.choice(carry).relative_bias), relative
    expected, measured = found[8]
    assert 2 * expected < 0.1 < measured
    expected, measured = found[64]
    assert measured < expected < 0.1


def distance_2(a, b):
    return float(sum(jnp.sum((x - y) ** 2) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))) ** 0.5


def all_patterns(keeps):
    for kept in product((0, 1), repeat=LENGTH - 1):
        p = np.prod(np.where(kept, keeps[1:], 1 - keeps[1:]))
        yield p, np.concatenate([[1.0], np.array(kept) / keeps[1:]])


def test_the_best_gates_have_the_least_variance_and_the_estimator_draws_them():
    model, params, batch = problem("tanh")
    keep = 0.7
    keeps = tb.exact.optimal_keeps(model, params, batch, keep)
    assert float(keeps[0]) == 1 and float(keeps[1:].mean()) == pytest.approx(keep, abs=1e-4)
    est = tb.Optimal(keep, keeps=keeps)
    least = float(tb.exact.variance(est, model, params, batch))
    assert least < 0.9 * float(tb.exact.variance(tb.Randomized(keep), model, params, batch))

    mean = tb.exact.expected_gradient(est, model, params, batch)
    assert distance(mean, full_gradient("tanh")) < 1e-12
    variance = jax.jit(lambda keeps: tb.exact.variance(tb.Optimal(keep, keeps=keeps), model, params, batch))
    rng = np.random.default_rng(0)
    for _ in range(200):  # moves that leave the expected number of cuts as it is
        move = rng.normal(size=LENGTH - 1) * 0.05
        other = np.asarray(keeps).copy()
        other[1:] = np.clip(other[1:] + move - move.mean(), FLOOR, 1)
        if abs(other[1:].mean() - keep) < 1e-3:
            assert float(variance(jnp.asarray(other))) > least * (1 - 2e-3)

    gates = np.asarray(est.gates(jax.random.key(0), LENGTH, 50_000))
    p = np.asarray(keeps)
    assert np.all(np.abs((gates > 0).mean(1) - p) <= 5 * (p * (1 - p) / 50_000) ** 0.5 + 1e-12)
    assert np.allclose(gates.max(1), 1 / p)


def test_the_running_estimate_of_the_costs_has_the_right_mean():
    """E (a_t · δ_t)² over directions and gates is the derivative of the variance by v_t: z-tests, false alarm 1e-6."""
    model, params, batch = problem("tanh")
    samples, keeps = 40_000, jnp.asarray([1.0, 0.5, 0.9, 0.4, 0.7, 0.8])
    start = model.initial_state(params, BATCH)

    @jax.jit
    def costs(keys):
        def one(key):
            return jnp.sum(crossing_credit(model, params, start, batch, keeps, key) ** 2, axis=1)

        return jax.lax.map(one, keys, batch_size=500)

    drawn = np.asarray(costs(jax.random.split(jax.random.key(0), samples)))
    variance = jax.jit(jax.grad(lambda v: tb.exact.variance(tb.Optimal(keeps=1 / (1 + v)), model, params, batch)))
    slopes = np.asarray(variance(1 / keeps - 1))
    error = drawn.std(0) / samples**0.5
    assert np.all(np.abs(drawn.mean(0) - slopes)[1:] <= 5.2 * error[1:])
    assert drawn[:, 0].max() == 0 and np.all(slopes[1:] > 5 * error[1:])


def test_the_best_gates_do_not_run_away_where_credit_is_carried_far():
    """Influence balancing, whose lags matter up to a hundred: with many cuts, their costs react to each other."""
    task, keep = tb.InfluenceBalancing(length=200), 0.9
    model, batch = task.model(), task.batch(jax.random.key(0))
    params, est = model.init(jax.random.key(0)), tb.Optimal(keep)

    @jax.jit
    def variances(key):
        chosen = est.chosen(settled(est, model, params, batch, key, 300), 200)
        both = jnp.stack([chosen, jnp.full(200, keep).at[0].set(1.0)])
        return jax.lax.map(lambda keeps: tb.exact.variance(tb.Optimal(keeps=keeps), model, params, batch), both)

    chosen, equal = variances(jax.random.key(1))
    assert chosen < 0.8 * equal


@pytest.mark.parametrize("every, radius, keep, near", [(8, 0.8, 0.8, None), (1, 1.2, 0.5, 1.1)])
def test_the_running_estimate_comes_near_to_the_best_gates(every, radius, keep, near):
    """Losses at every eighth step only: cuts that no credit crosses are free, and are found. Losses at every step, and
    many cuts: within a tenth of the least variance."""
    model = tb.rnn("tanh", 2, 3, 2, "squared", radius=radius)
    keys = jax.random.split(jax.random.key(0), 3)
    params, length = model.init(keys[0]), 16
    weights = jnp.zeros((length, 2)).at[every - 1 :: every].set(1.0)
    batch = tb.Batch(*(jax.random.normal(key, (length, 2, 2)) for key in keys[1:]), weights)
    est = tb.Optimal(keep, memory=0.995)

    @jax.jit
    def variances(key):
        chosen = est.chosen(settled(est, model, params, batch, key, 1000), length)
        best = tb.exact.optimal_keeps(model, params, batch, keep)
        even = jnp.full(length, keep).at[0].set(1.0)

        def variance(keeps):
            return tb.exact.variance(tb.Optimal(keep, keeps=keeps), model, params, batch)

        return chosen, variance(chosen), variance(best), variance(even)

    chosen, running, best, even = variances(jax.random.key(3))
    assert float(chosen[1:].mean()) == pytest.approx(keep, abs=1e-3)
    assert best <= running < (near * best if near else 0.1 * even)
    assert best < 0.7 * even


def test_chunks_that_tell_nothing_leave_the_gates_as_they_are():
    """A chunk without a loss, and one whose credit is beyond floating point."""
    model, params, batch = problem("tanh")
    est = tb.Optimal(0.8, memory=0.5)
    learned = settled(est, model, params, batch, jax.random.key(0), 5)
    exploding = jax.tree.map(lambda leaf: 1e200 * leaf, params | {"cell": params["cell"]})
    for params_now, batch_now in (
        (params, batch._replace(weights=jnp.zeros_like(batch.weights))),
        (params | {"readout": exploding["readout"]}, batch),
    ):
        _, after = est(model, params_now, learned, batch_now, jax.random.key(1))
        assert np.array_equal(after.weights, learned.weights)
    assert np.ptp(learned.weights[:LENGTH]) > 0.1


def test_best_keeps_fills_what_is_asked_for():
    for weights in ([0, 1, 2, 3, 4], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [5, 1e-9, 1e9, 1, 1]):
        for keep in (0.3, 0.9, 1.0):
            keeps = best_keeps(jnp.asarray(weights, float), keep)
            assert float(keeps[0]) == 1 and float(keeps.min()) >= FLOOR and float(keeps.max()) <= 1
            assert float(keeps[1:].mean()) == pytest.approx(keep, abs=1e-3)


@pytest.mark.parametrize(
    "text, said",
    [
        ("adaptive(delta=0)", "adaptive: delta must be a number above 0, got 0"),
        ("adaptive(0.1, longest=4, shortest=5)", "adaptive: shortest must be at most longest = 4, got 5"),
        ("adaptive(0.1, fit='mean')", "adaptive: fit must be one of least squares, quantile, max, got 'mean'"),
        ("telescope(keep=0)", "telescope: keep must be"),
        ("telescope(chances=(0.1, 0.2))", "telescope: chances must be probabilities above 0 that do not rise"),
        ("optimal(keep=0.01)", "optimal: keep must be a number above 0.02 and at most 1, got 0.01"),
        ("optimal(longest=1)", "optimal: longest must be a whole number of at least 2, got 1"),
        ("snap(n=0)", "snap: n must be a whole number of at least 1, got 0"),
        ("rflo(leak=2)", "rflo: leak must be a number from 0 to 1, got 2"),
        ("es(sigma=0)", "es: sigma must be a number above 0, got 0"),
        ("pes(particles=0)", "pes: particles must be a whole number of at least 1, got 0"),
        ("nres(chunks=0)", "nres: chunks must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_numbers_are_named(text, said):
    with pytest.raises(ValueError, match=said):
        tb.make_estimator(text)


def test_lags_and_their_weights():
    """Σ_k c_k G_k of a telescope is that of its lags."""
    est = tb.Telescope(0.5, base=2)
    weights = np.asarray(est.at_level(2, LENGTH).weights)
    by_lag = gradients_by_lag("tanh")
    assert np.array_equal(weights, [1, 2, 4, 4, 0, 0])
    assert distance(at_levels(est, "tanh")[2], total(scaled(w, g) for w, g in zip(weights, by_lag))) < 1e-12
