"""`tb.measure`: its intervals cover the exact values as often as they say, and it does not depend on the devices."""

import json
import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.stats import binom

import tbptt_jax as tb
from tbptt_jax.analysis.sampling import draw_groups, exact_gradient
from tbptt_jax.estimators.base import warmed_up
from tests.estimators.test_gated import patterns
from tests.problems import LENGTH, distance, problem
from tests.tiers import cases, thorough

FALSE_ALARM = 1e-6  # the probability that intervals which cover 95% fail the test of their coverage
REPEATS = 1000


def exact_values(est):
    """(squared bias, variance, E cosine), all over the gate patterns of one sequence."""

    class Given(tb.GatedEstimator):
        unbiased = "never"

        def gates(self, key, length, batch_size):
            return key

    model, params, batch = problem("tanh", batch=1)
    start = model.initial_state(params, 1)
    probabilities, gates = (np.array(part) for part in zip(*patterns(est)))
    grads = jax.vmap(lambda given: Given()(model, params, start, batch, given)[0].grads)(jnp.asarray(gates)[:, :, None])
    flat = np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(grads))
    full = np.asarray(ravel_pytree(jax.grad(tb.loss, 1)(model, params, batch))[0])
    mean = probabilities @ flat
    cosines = flat @ full / np.linalg.norm(flat, axis=1) / np.linalg.norm(full)
    return np.sum((mean - full) ** 2), probabilities @ np.sum((flat - mean) ** 2, axis=1), probabilities @ cosines


@thorough
@pytest.mark.parametrize(
    "est",
    cases([tb.Randomized(0.8), tb.Geometric(0.8), tb.ARTBP(3.0, 4.0)], lambda est: est.name == "randomized"),
    ids=str,
)
def test_intervals_of_95_percent_cover_the_exact_value_95_times_in_a_hundred(est):
    """1,000 measurements of 256 samples; where 95% cover, a count out of bounds has probability 1e-6."""
    bias, variance, cosine = exact_values(est)
    measure = partial(tb.measure, est, *problem("tanh", batch=1), samples=256)
    measured = jax.jit(jax.vmap(lambda key: measure(key)))(jax.random.split(jax.random.key(1), REPEATS))
    least, most = binom.ppf(FALSE_ALARM / 6, REPEATS, 0.95), binom.isf(FALSE_ALARM / 6, REPEATS, 0.95)
    for name, exact in (("variance", variance), ("cosine", cosine), ("mse", bias + variance), ("bias", bias)):
        interval = getattr(measured, name)
        covered = int(np.sum((interval.low <= exact) & (exact <= interval.high)))
        assert least <= covered <= most, (name, covered, least, most)
        spread = np.std(interval.value) / REPEATS**0.5
        assert abs(np.mean(interval.value) - exact) < 5.5 * spread + 1e-12, name  # unbiased themselves; z = 5.5: 4e-8


@thorough
def test_the_squared_bias_is_not_inflated_by_the_variance():
    """A naive ‖mean − exact‖² of 64 samples would be variance / 64; the debiased one is around 0, on both sides."""
    est = tb.Randomized(0.5)
    _, variance, _ = exact_values(est)
    measure = partial(tb.measure, est, *problem("tanh", batch=1), samples=64)
    values = np.asarray(jax.vmap(lambda key: measure(key).bias.value)(jax.random.split(jax.random.key(2), 500)))
    assert abs(values.mean()) < 0.2 * variance / 64
    assert values.min() < 0 < values.max()


@thorough
def test_measure_agrees_with_exact_on_a_model_of_32_units():
    """z = 5 intervals (level 1 − 6e-7) of 2,048 samples hold the exact variance and bias."""
    model = tb.rnn("tanh", 4, 32, 3, radius=1.0)
    params = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    batch = tb.Batch(jax.random.normal(keys[0], (16, 2, 4)), jax.random.randint(keys[1], (16, 2), 0, 3))
    full = ravel_pytree(exact_gradient(model, params, batch))[0]
    for est in (tb.Randomized(0.8), tb.Geometric(0.8), tb.ARTBP(6.0)):
        m = tb.measure(est, model, params, batch, jax.random.key(2), 2048, level=1 - 6e-7)
        mean = ravel_pytree(tb.exact.expected_gradient(est, model, params, batch))[0]
        assert m.variance.low <= tb.exact.variance(est, model, params, batch) <= m.variance.high
        assert m.bias.low <= np.sum((mean - full) ** 2) + 1e-18 and np.sum((mean - full) ** 2) <= m.bias.high


@thorough
def test_estimators_that_draw_nothing_have_no_variance_and_their_own_bias():
    model, params, batch = problem("gru")
    est = tb.Window(2)
    m = tb.measure(est, model, params, batch, jax.random.key(0), 64)
    apart = (
        ravel_pytree(tb.gradient(est, model, params, batch))[0] - ravel_pytree(exact_gradient(model, params, batch))[0]
    )
    assert abs(m.variance.value) < 1e-12 and abs(m.bias.value - apart @ apart) < 1e-12
    assert abs(m.mse.value - m.bias.value) < 1e-12
    low, data = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, batch))
    m = tb.measure(est, model, low, data, jax.random.key(0), 64)
    assert m.variance.value == 0 and m.snr.value == m.snr.low == np.inf  # in float32 too, beside a large bias


def test_one_compilation_serves_all_numbers():
    model, params, batch = problem("tanh")
    before = draw_groups._cache_size()
    for keep, samples in ((0.5, 64), (0.9, 64), (0.9, 1024)):
        tb.measure(tb.Randomized(keep), model, params, batch, jax.random.key(0), samples)
    assert draw_groups._cache_size() == before + 1


@thorough
def test_the_same_key_shares_random_numbers_across_lengths():
    """Common random numbers: the error of a difference between two keeps is smaller than with other keys."""
    model, params, batch = problem("tanh")

    def mse(keep, key):
        return tb.measure(tb.Randomized(keep), model, params, batch, key, 64).mse.value

    keys = jax.random.split(jax.random.key(0), 40)
    others = jax.random.split(jax.random.key(1), 40)
    common = jax.vmap(lambda key: mse(0.80, key) - mse(0.81, key))(keys)
    apart = jax.vmap(lambda key, other: mse(0.80, key) - mse(0.81, other))(keys, others)
    assert np.std(common) < 0.5 * np.std(apart)


@pytest.mark.parametrize("samples", [0, 32, 100])
def test_bad_options_are_named(samples):
    with pytest.raises(ValueError, match="samples: a multiple of 32, at least 64, is needed"):
        tb.measure(tb.Full(), *problem("tanh"), jax.random.key(0), samples)
    with pytest.raises(ValueError, match="at_once: a whole number of at least 1"):
        tb.measure(tb.Full(), *problem("tanh"), jax.random.key(0), at_once=0)
    with pytest.raises(ValueError, match="level: a number between 0 and 1"):
        tb.measure(tb.Full(), *problem("tanh"), jax.random.key(0), level=95.0)


PROGRAM = """
import jax, jax.numpy as jnp, json
import tbptt_jax as tb
model = tb.rnn("tanh", 2, 4, 2, "squared")
params = model.init(jax.random.key(0))
batch = tb.Batch(jax.random.normal(jax.random.key(1), (8, 2, 2)), jnp.ones((8, 2, 2)))
m = tb.measure(tb.Randomized(0.7), model, params, batch, jax.random.key(2), 320)
ests = [tb.ES(0.1, 8), tb.PES(0.1, 8), tb.NRES(0.1, 8)]  # whose particles are spread over devices
program = jax.jit(lambda key: [tb.gradient(est, model, params, batch, key) for est in ests])
assert ("shard_map" in str(jax.make_jaxpr(program)(jax.random.key(3)))) == (jax.device_count() > 1)
found = jax.tree.leaves((m, program(jax.random.key(3))))
print(json.dumps([jax.device_count()] + [float(x) for leaf in found for x in leaf.ravel()]))
"""


@thorough
def test_samples_and_particles_give_the_same_on_one_device_and_on_four():
    results = []
    for devices in (1, 4):
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    assert [result[0] for result in results] == [1, 4]
    assert np.allclose(results[0][1:], results[1][1:], rtol=2e-4, atol=1e-6)


@thorough
def test_an_estimator_that_learns_is_measured_when_it_has():
    """The optimal gates, after 300 chunks: the variance that the gates which it has found by then have exactly."""
    model, params, batch = problem("tanh")
    est, key = tb.Optimal(0.6, memory=0.99), jax.random.key(0)
    measured = tb.measure(est, model, params, batch, key, samples=2**14, level=1 - 1e-6, warmup=300)
    chosen = est.chosen(warmed_up(est, model, params, batch, jax.random.fold_in(key, 2**32 - 1), 300), LENGTH)
    exact = float(tb.exact.variance(tb.Scheduled(chosen), model, params, batch))
    assert (
        measured.variance.low
        < exact
        < measured.variance.high
        < tb.exact.variance(tb.Randomized(0.6), model, params, batch)
    )
    with pytest.raises(ValueError, match="warmup: a whole number of at least 0 is needed, got -1"):
        tb.measure(est, model, params, batch, key, warmup=-1)


def test_a_measurement_is_printed_as_a_table():
    measured = tb.measure(tb.Segment(2), *problem("tanh"), jax.random.key(0), samples=64)
    lines = str(measured).splitlines()
    assert [line.split()[0] for line in lines] == ["bias", "variance", "mse", "cosine", "snr"]
    assert f"{float(measured.bias.value):.4g}" in lines[0]
    jax.jit(lambda: print(tb.measure(tb.Segment(2), *problem("tanh"), jax.random.key(0), samples=64)))()


def test_a_spectrum_is_printed_by_lag():
    spectrum = tb.exact.lag_spectrum(*problem("tanh", length=20))
    lines = str(spectrum).splitlines()
    assert lines[0].startswith("horizon") and lines[1].split()[:2] == ["lag", "0"]
    assert len(lines) == 17 and lines[-1].split()[1] == "19"
    assert f"{float(spectrum.norms[0]):.4g}" in lines[1]


def test_an_estimator_may_learn_from_fresh_batches():
    est, (model, params, batch) = tb.Adaptive(0.1, longest=4), problem("tanh")
    given = warmed_up(est, model, params, batch, jax.random.key(0), 3)
    drawn = warmed_up(est, model, params, lambda key: batch, jax.random.key(0), 3)
    assert distance(given, drawn) == 0

    def draw(key):
        return batch._replace(weights=jax.random.uniform(key, batch.targets.shape[:2]))

    fresh = warmed_up(est, model, params, draw, jax.random.key(0), 3)
    assert fresh.chunks == 3 and np.abs(fresh.lag - given.lag).max() > 1e-6
