"""Gated estimators: their gates, their exact expectation over all gate patterns, their reductions."""

from dataclasses import replace
from functools import cache
from itertools import product
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.estimators.gated import GatedEstimator
from tests.problems import (
    BATCH,
    EVERY_MODEL,
    LENGTH,
    QUICK,
    distance,
    estimates,
    full_gradient,
    gradient_looking_back,
    gradient_with_gates,
    gradients_by_lag,
    problem,
    scaled,
    total,
)
from tests.tiers import cases, thorough

RANDOM = [
    *(tb.Randomized(0.7), tb.Randomized(0.2), tb.Geometric(0.7)),
    *(tb.ARTBP(3.0, 4.0), tb.ARTBP(1.5, 2.0), tb.ByAge((0.0, 0.6, 0.2))),
]
FALSE_ALARM = 1e-6  # the probability that a correct program fails a statistical test


def chance_of_cut(est, age):
    if isinstance(est, tb.ARTBP):
        return est.alpha / ((est.alpha - 1) * est.length + age)
    if isinstance(est, tb.ByAge):
        return est.cuts[min(age, len(est.cuts)) - 1]
    return 1 - est.keep


def patterns(est):
    """All patterns of kept (1) and cut (0) steps 2..T with their probability and gates, from the definitions alone."""
    for kept in product((0, 1), repeat=LENGTH - 1):
        probability, gates, age = 1.0, [1.0], 1
        for keep in kept:
            chance = 1 - chance_of_cut(est, age)
            probability *= chance if keep else 1 - chance
            gates.append(keep * (1.0 if isinstance(est, tb.Geometric) else 1 / chance))
            age = age + 1 if keep else 1
        yield probability, np.array(gates)


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_our_gradient_equals_the_definition_on_every_gate_pattern(model):
    """T − 1 random gates a sequence, all patterns at once: ours (vmapped) against stop_gradient in lax.scan."""
    gates = jnp.asarray([np.stack([gates, gates[::-1]], axis=1) for _, gates in patterns(tb.Randomized(0.7))])
    together = gradients_on(model, gates)
    theirs = jax.jit(jax.vmap(lambda gates: gradient_with_gates(model, gates)))(gates)
    assert distance(together, theirs) < 1e-12


def gradients_on(model, gates):
    """Our estimator's own path, for gates `[N, T, B]`."""
    return gradients_of_gates(model)(gates)


@cache
def gradients_of_gates(model):
    class Given(GatedEstimator):
        unbiased = "never"

        def gates(self, key, length, batch_size):
            return key

    rnn, params, batch = problem(model)
    start = rnn.initial_state(params, BATCH)
    return jax.jit(jax.vmap(lambda given: Given()(rnn, params, start, batch, given)[0].grads))


@cache
def mean_over_patterns(model, est):
    probabilities, gates = zip(*patterns(est))
    assert abs(sum(probabilities) - 1) < 1e-12
    gates = jnp.broadcast_to(jnp.asarray(gates)[:, :, None], (len(gates), LENGTH, BATCH))
    weights = jnp.asarray(probabilities)
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), gradients_on(model, gates))


@pytest.mark.parametrize("model", EVERY_MODEL)
@pytest.mark.parametrize("est", [tb.Randomized(0.7), tb.ARTBP(3.0, 4.0)], ids=str)
def test_the_mean_over_all_patterns_is_the_full_gradient(model, est):
    assert distance(mean_over_patterns(model, est), full_gradient(model)) < 1e-12


@pytest.mark.parametrize("model", cases(["tanh", "lstm"], QUICK))
def test_the_mean_of_geometric_truncation_fades_with_the_lag(model):
    est = tb.Geometric(0.7)
    expected = total(scaled(0.7**k, g) for k, g in enumerate(gradients_by_lag(model)))
    assert distance(mean_over_patterns(model, est), expected) < 1e-12
    assert distance(expected, full_gradient(model)) > 1e-3


@pytest.mark.parametrize("est", RANDOM, ids=str)
def test_drawn_gates_follow_the_patterns_and_their_probabilities(est):
    """Every drawn sequence of gates is one of the enumerated ones, and each as frequent as it should be."""
    samples = 100_000
    drawn = np.asarray(est.gates(jax.random.key(11), LENGTH, samples))
    first = drawn[0].copy()
    known = list(patterns(est))
    codes = (drawn[1:] > 0).T @ (1 << np.arange(LENGTH - 1))
    of_code = {int((gates[1:] > 0) @ (1 << np.arange(LENGTH - 1))): (p, gates) for p, gates in known}
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * len(known)))
    for code, (probability, gates) in of_code.items():
        rows = codes == code
        spread = (probability * (1 - probability) * samples) ** 0.5
        assert abs(rows.sum() - probability * samples) <= limit * spread + 1
        assert np.allclose(drawn[1:, rows], gates[1:, None], rtol=1e-12)
    assert np.all((first >= 0) & np.isfinite(first))


def test_artbp_segments_have_their_distribution():
    """P(length > d) = Π (1 − c_i) and mean L0, over 20,000 first segments; 6 z-tests with false alarm 1e-6 in all."""
    est, samples, steps = tb.ARTBP(4.0, 5.0), 20_000, 400
    gates = np.asarray(est.gates(jax.random.key(2), steps, samples))
    cut = gates == 0
    lengths = np.where(cut.any(0), cut.argmax(0), steps)
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / 12)
    ages = np.arange(1, 10**6)
    survival = np.cumprod(1 - est.alpha / ((est.alpha - 1) * est.length + ages))
    assert abs(1 + survival.sum() - est.length) < 1e-3  # E[length] = Σ_{d ≥ 0} P(length > d) = L0
    for age in (1, 2, 4, 8, 16):
        p = survival[age - 1]
        assert abs(np.mean(lengths > age) - p) <= limit * (p * (1 - p) / samples) ** 0.5
    assert abs(lengths.mean() - est.length) <= limit * lengths.std() / samples**0.5


@pytest.mark.parametrize("est", [tb.Randomized(0.5), tb.Geometric(0.5), tb.ARTBP(3.0)], ids=str)
def test_gates_are_drawn_for_each_sequence_unless_shared(est):
    apart = est.gates(jax.random.key(0), 50, 4)
    shared = replace(est, shared=True).gates(jax.random.key(0), 50, 4)
    assert apart.shape == shared.shape == (50, 4)
    assert len({tuple(column) for column in np.asarray(apart).T}) == 4
    assert len({tuple(column) for column in np.asarray(shared).T}) == 1


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_segments_cut_at_their_boundaries(model):
    """Loss t (from 1) sees the lags k ≤ (t−1) mod τ; the mean over all offsets is Σ max(0, 1 − k/τ) G_k."""
    tau = 4
    offsets = estimates(model, [tb.Segment(tau, offset) for offset in range(tau)])
    assert distance(offsets[0], gradient_looking_back(model, lambda t: t % tau)) < 1e-12
    mean = scaled(1 / tau, total(offsets))
    expected = total(scaled(max(0, 1 - k / tau), g) for k, g in enumerate(gradients_by_lag(model)))
    assert distance(mean, expected) < 1e-12
    assert distance(expected, full_gradient(model)) > 1e-4


@thorough
def test_a_random_offset_is_uniform_and_cuts_like_the_fixed_one():
    keys = jax.random.split(jax.random.key(0), 3000)
    firsts = np.asarray(jax.vmap(tb.Segment(3, "random").first)(keys))
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / 6)
    assert np.all(np.abs(np.bincount(firsts, minlength=3) - 1000) <= limit * (3000 * 2 / 9) ** 0.5)
    model, params, batch = problem("tanh")
    start = model.initial_state(params, BATCH)
    for tau in (3, LENGTH, 1000):  # longer than the sequence: whole, or cut once
        est = tb.Segment(tau, "random")
        gates = jax.vmap(lambda key, est=est: est.gates(key, LENGTH, BATCH))(keys[:20])
        drawn = jax.jit(jax.vmap(lambda key, est=est: est(model, params, start, batch, key)[0].grads))(keys[:20])
        assert distance(drawn, gradients_on("tanh", gates)) < 1e-12


def test_cuts_by_age_are_artbp_and_randomized_where_their_numbers_are():
    artbp, length = tb.ARTBP(3.0, 4.0), 12
    same = tb.ByAge([chance_of_cut(artbp, age) for age in range(1, length + 1)])
    key = jax.random.key(5)
    assert np.array_equal(same.gates(key, length, 7), artbp.gates(key, length, 7))
    of_one, equal = (tb.exact.variance(est, *problem("tanh")) for est in (tb.ByAge(0.3), tb.Randomized(0.7)))
    assert float(of_one) == pytest.approx(float(equal), rel=1e-12)


@pytest.mark.parametrize("tau", [1.5, 2, 3, 8, 12.25])
def test_segments_that_rest_have_the_mean_length_that_is_asked_for(tau):
    est = tb.ByAge.of_length(tau)
    assert est.nominal_length == pytest.approx(tau)
    assert float(est.law(2000).mean_length()) == pytest.approx(tau)
    assert sum(cut == 0 for cut in est.cuts) == int((tau - 1) / 2)
    assert tb.ByAge((0.5, 0.0)).nominal_length is None and tb.ByAge((0.5, 0.0)).pace(7) == (7, 7.0)
