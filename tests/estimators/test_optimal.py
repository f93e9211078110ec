"""The optimal gates: against all patterns and brute force, and their running estimate against exact derivatives."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.estimators.base import warmed_up
from tbptt_jax.estimators.optimal import FLOOR, keeps_for
from tbptt_jax.gradients.cuts.crossing import crossing_credit
from tests.problems import (
    BATCH,
    LENGTH,
    distance,
    full_gradient,
    problem,
)
from tests.tiers import cases, thorough


def all_patterns(keeps):
    for kept in product((0, 1), repeat=LENGTH - 1):
        p = np.prod(np.where(kept, keeps[1:], 1 - keeps[1:]))
        yield p, np.concatenate([[1.0], np.array(kept) / keeps[1:]])


def test_the_optimal_gates_have_the_least_variance_and_the_estimator_draws_them():
    model, params, batch = problem("tanh")
    keep = 0.7
    keeps = tb.exact.optimal_keeps(model, params, batch, keep)
    assert float(keeps[0]) == 1 and float(keeps[1:].mean()) == pytest.approx(keep, abs=1e-4)
    est = tb.Scheduled(keeps)
    least = float(tb.exact.variance(est, model, params, batch))
    assert least < 0.9 * float(tb.exact.variance(tb.Randomized(keep), model, params, batch))

    mean = tb.exact.expected_gradient(est, model, params, batch)
    assert distance(mean, full_gradient("tanh")) < 1e-12
    variance = jax.jit(lambda keeps: tb.exact.variance(tb.Scheduled(keeps), model, params, batch))
    rng = np.random.default_rng(0)
    inside = (np.asarray(keeps) > FLOOR + 0.1) & (np.asarray(keeps) < 0.9)  # which may move both ways
    assert inside.sum() >= 2
    for _ in range(50):  # moves that leave the expected number of cuts as it is
        move = np.where(inside, rng.normal(size=LENGTH), 0)
        move[inside] -= move[inside].mean()
        other = np.asarray(keeps) + 0.1 * move / np.abs(move).max()
        assert other.min() >= FLOOR and other.max() <= 1 and abs(other[1:].mean() - keep) < 1e-3
        assert float(variance(jnp.asarray(other))) > least * (1 - 2e-3)

    gates = np.asarray(est.gates(jax.random.key(0), LENGTH, 50_000))
    p = np.asarray(keeps)
    assert np.all(np.abs((gates > 0).mean(1) - p) <= 5 * (p * (1 - p) / 50_000) ** 0.5 + 1e-12)
    assert np.allclose(gates.max(1), 1 / p)


@thorough
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
    variance = jax.jit(jax.grad(lambda v: tb.exact.variance(tb.Scheduled(1 / (1 + v)), model, params, batch)))
    slopes = np.asarray(variance(1 / keeps - 1))
    error = drawn.std(0) / samples**0.5
    assert np.all(np.abs(drawn.mean(0) - slopes)[1:] <= 5.2 * error[1:])
    assert drawn[:, 0].max() == 0 and np.all(slopes[1:] > 5 * error[1:])


def test_the_optimal_gates_do_not_run_away_where_credit_is_carried_far():
    """Influence balancing, whose lags matter up to a hundred: with many cuts, their costs react to each other."""
    task, keep = tb.InfluenceBalancing(length=200), 0.9
    model, batch = task.model(), jax.jit(task.batch)(jax.random.key(0))
    params, est = model.init(jax.random.key(0)), tb.Optimal(keep)

    @jax.jit
    def variances(key):
        chosen = est.chosen(warmed_up(est, model, params, batch, key, 300), 200)
        both = jnp.stack([chosen, jnp.full(200, keep).at[0].set(1.0)])
        return jax.lax.map(lambda keeps: tb.exact.variance(tb.Scheduled(keeps), model, params, batch), both)

    chosen, equal = variances(jax.random.key(1))
    assert chosen < 0.8 * equal


@thorough
@pytest.mark.parametrize(
    "every, radius, keep, near", cases([(8, 0.8, 0.8, None), (1, 1.2, 0.5, 1.1)], [(1, 1.2, 0.5, 1.1)])
)
def test_the_running_estimate_comes_near_to_the_optimal_gates(every, radius, keep, near):
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
        chosen = est.chosen(warmed_up(est, model, params, batch, key, 1000), length)
        best = tb.exact.optimal_keeps(model, params, batch, keep)
        even = jnp.full(length, keep).at[0].set(1.0)

        def variance(keeps):
            return tb.exact.variance(tb.Scheduled(keeps), model, params, batch)

        return chosen, variance(chosen), variance(best), variance(even)

    chosen, running, best, even = variances(jax.random.key(3))
    assert float(chosen[1:].mean()) == pytest.approx(keep, abs=1e-3)
    assert best <= running < (near * best if near else 0.1 * even)
    assert best < 0.7 * even


@thorough
def test_chunks_that_tell_nothing_leave_the_gates_as_they_are():
    """A chunk without a loss, and one whose credit is beyond floating point."""
    model, params, batch = problem("tanh")
    est = tb.Optimal(0.8, memory=0.5)
    learned = warmed_up(est, model, params, batch, jax.random.key(0), 5)
    exploding = jax.tree.map(lambda leaf: 1e200 * leaf, params | {"cell": params["cell"]})
    for params_now, batch_now in (
        (params, batch._replace(weights=jnp.zeros_like(batch.weights))),
        (params | {"readout": exploding["readout"]}, batch),
    ):
        _, after = est(model, params_now, learned, batch_now, jax.random.key(1))
        assert np.array_equal(after.weights, learned.weights)
    assert np.ptp(learned.weights[:LENGTH]) > 0.1


def test_keeps_for_fills_what_is_asked_for():
    for weights in ([0, 1, 2, 3, 4], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [5, 1e-9, 1e9, 1, 1]):
        for keep in (0.3, 0.9, 1.0):
            keeps = keeps_for(jnp.asarray(weights, float), keep)
            assert float(keeps[0]) == 1 and float(keeps.min()) >= FLOOR and float(keeps.max()) <= 1
            assert float(keeps[1:].mean()) == pytest.approx(keep, abs=1e-3)
