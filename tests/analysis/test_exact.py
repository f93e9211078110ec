"""Exact means, variances and biases against enumeration of all gate patterns, and against the estimators themselves."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tests.estimators.test_gated import gradients_on, patterns
from tests.problems import (
    BATCH,
    EVERY_MODEL,
    HIDDEN,
    INPUTS,
    LENGTH,
    OUTPUTS,
    QUICK,
    distance,
    estimates,
    full_gradient,
    gradients_by_lag,
    problem,
    subtract,
)
from tests.tiers import cases, thorough

exact = tb.exact
GATED = [
    *(tb.Randomized(0.3), tb.Randomized(0.9), tb.Geometric(0.6)),
    *(tb.ARTBP(3.0, 4.0), tb.ARTBP(1.5, 2.0), tb.ByAge((0.0, 0.6, 0.2))),
]


def by_enumeration(name, est, shared):
    """(mean, variance) over all gate patterns; with gates drawn for each sequence, the sequences' variances add."""
    probabilities, gates = (np.array(part) for part in zip(*patterns(est)))
    mean, variance = 0.0, 0.0
    for columns in [range(BATCH)] if shared else [[b] for b in range(BATCH)]:
        stacked = np.ones((len(gates), LENGTH, BATCH))
        stacked[:, :, columns] = gates[:, :, None]
        flat = np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradients_on(name, jnp.asarray(stacked))))
        mean = probabilities @ flat
        variance += probabilities @ np.sum((flat - mean) ** 2, axis=1)
    return mean, variance


@pytest.mark.parametrize("shared", cases([False, True], [False]), ids=["apart", "shared"])
@pytest.mark.parametrize("name", cases(["tanh", "gru", "lstm", "two layers"], ["tanh"]))
def test_exact_variance_is_that_over_all_patterns(name, shared):
    model, params, batch = problem(name)
    ests = [replace(est, shared=shared) for est in GATED]
    found = jax.jit(lambda params: [exact.variance(est, model, params, batch) for est in ests])(params)
    for est, value in zip(ests, found):
        _, expected = by_enumeration(name, est, shared)
        assert abs(value - expected) < 1e-10 * max(1, expected), est


@pytest.mark.parametrize("name", cases(["tanh", "lstm"], QUICK))
@pytest.mark.parametrize("est", [tb.Geometric(0.6), tb.Randomized(0.3), tb.ARTBP(3.0, 4.0)], ids=str)
def test_exact_mean_is_that_over_all_patterns(name, est):
    mean, _ = by_enumeration(name, est, shared=True)
    ours = exact.expected_gradient(est, *problem(name))
    assert np.max(np.abs(ravel_pytree(ours)[0] - mean)) < 1e-12
    assert (distance(ours, full_gradient(name)) < 1e-12) == (est.unbiased == "chunk")


def test_the_share_of_a_gate_is_what_its_revelation_adds():
    """E‖E[g | gate_t and all later ones] − E[g | all later ones]‖², over all patterns, sequence by sequence."""
    est = tb.Randomized(0.5)
    model, params, batch = problem("tanh")
    probabilities, gates = (np.array(part) for part in zip(*patterns(est)))
    expected = np.zeros(LENGTH)
    for b in range(BATCH):
        stacked = np.ones((len(gates), LENGTH, BATCH))
        stacked[:, :, b] = gates
        flat = np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradients_on("tanh", jnp.asarray(stacked))))
        for t in range(1, LENGTH):
            for suffix in {tuple(row) for row in gates[:, t + 1 :]}:
                later = np.all(gates[:, t + 1 :] == suffix, axis=1)
                given = np.average(flat[later], axis=0, weights=probabilities[later])
                for value in set(gates[later, t]):
                    both = later & (gates[:, t] == value)
                    revealed = np.average(flat[both], axis=0, weights=probabilities[both])
                    expected[t] += probabilities[both].sum() * np.sum((revealed - given) ** 2)
    shares = exact.gate_variances(est, model, params, batch)
    assert shares.shape == (LENGTH,) and np.max(np.abs(shares - expected)) < 1e-12
    assert abs(shares.sum() - exact.variance(est, model, params, batch)) < 1e-12


@pytest.mark.parametrize("tau", cases([1, 3, LENGTH, 2 * LENGTH], [3]))
def test_segments_of_random_offset_are_a_mixture(tau):
    members = estimates("gru", [tb.Segment(tau, offset) for offset in range(tau)])
    flat = np.stack([ravel_pytree(tree)[0] for tree in members])
    est = tb.Segment(tau, "random")
    model, params, batch = problem("gru")
    moments = jax.jit(lambda params: [f(est, model, params, batch) for f in (exact.expected_gradient, exact.variance)])
    mean, variance = moments(params)
    assert np.max(np.abs(ravel_pytree(mean)[0] - flat.mean(0))) < 1e-12
    assert abs(variance - np.sum((flat - flat.mean(0)) ** 2) / tau) < 1e-12


@pytest.mark.parametrize("est", [tb.Full(), tb.Segment(2), tb.Window(3), tb.Buffered(4, 2)], ids=str)
def test_what_draws_nothing_is_its_own_mean(est):
    assert exact.variance(est, *problem("tanh")) == 0
    assert distance(exact.expected_gradient(est, *problem("tanh")), estimates("tanh", [est])[0]) < 1e-13


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_the_spectrum_holds_the_gradient_of_every_lag(name):
    found = exact.lag_spectrum(*problem(name))
    spectrum, expected = jax.tree.map(np.asarray, (found, gradients_by_lag(name)))
    for k in range(1, LENGTH):
        assert distance(jax.tree.map(lambda leaf, k=k: leaf[k], spectrum.gradients), expected[k]) < 1e-12
    first = jax.tree.map(lambda leaf, own: leaf[0] + own, spectrum.gradients, spectrum.readout)
    assert distance(first, expected[0]) < 1e-12
    total = jax.tree.map(lambda leaf, own: leaf.sum(0) + own, spectrum.gradients, spectrum.readout)
    assert distance(total, full_gradient(name)) < 1e-12
    flat = np.concatenate([leaf.reshape(LENGTH, -1) for leaf in jax.tree.leaves(spectrum.gradients)], axis=1)
    assert distance(found.gram, flat @ flat.T) < 1e-12
    assert distance(found.norms, np.linalg.norm(flat, axis=1)) < 1e-12


@pytest.mark.parametrize("held, lags", cases([(1, None), (2, None), (4, 5), (6, 3), (100, None)], [(1, None), (4, 5)]))
def test_products_alone_are_those_of_the_whole_spectrum(held, lags):
    whole = exact.lag_spectrum(*problem("gru"), lags=lags)
    lean = exact.lag_spectrum(*problem("gru"), lags=lags, products_only=held)
    assert lean.gradients is None
    assert distance(lean.products, whole.products) < 1e-13


def truncations(scheme, value):
    return {"window": tb.Window, "segment": lambda tau: tb.Segment(tau, "random"), "geometric": tb.Geometric}[scheme](
        value
    )


@pytest.mark.parametrize(
    "scheme, values",
    cases(
        [("window", [1, 2, 5, 6, 9]), ("segment", [1, 2, 5, 6, 9]), ("geometric", [0.0, 0.3, 0.9, 1.0])],
        lambda case: case[0] == "window",
    ),
)
def test_bias_curves_are_the_biases_of_the_estimators(scheme, values):
    curve = exact.bias_curve(exact.lag_spectrum(*problem("lstm")), scheme, values)
    full = ravel_pytree(full_gradient("lstm"))[0]
    model, params, batch = problem("lstm")
    ests = [truncations(scheme, value) for value in values]
    means = jax.jit(lambda params: [exact.expected_gradient(est, model, params, batch) for est in ests])(params)
    for i, tree in enumerate(means):
        mean = ravel_pytree(tree)[0]
        assert abs(curve.squared_bias[i] - np.sum((mean - full) ** 2)) < 1e-12
        assert abs(curve.relative_bias[i] - np.linalg.norm(mean - full) / np.linalg.norm(full)) < 1e-6
        assert abs(curve.cosine[i] - mean @ full / np.linalg.norm(mean) / np.linalg.norm(full)) < 1e-12


def test_credit_norms_are_those_of_single_losses():
    model, params, batch = problem("lstm")
    norms = exact.credit_norms(model, params, batch)
    start = model.initial_state(params, BATCH)

    @partial(jax.jit, static_argnums=1)
    def credits(probes, t):
        """On the states after the steps up to t, by what is added to each of them."""

        def loss(probes):
            state = start
            for x, probe in zip(batch.inputs[: t + 1], probes):
                state = jax.tree.map(jnp.add, model.step(params, state, x), probe)
            return jnp.sum(model.losses(model.readout(params, state), batch.targets[t]))

        return jax.grad(loss)(probes)

    nothing = jax.tree.map(jnp.zeros_like, start)
    for t in range(LENGTH):
        found = credits([nothing] * (t + 1), t)
        by_sequence = [jnp.sqrt(sum(jnp.sum(leaf**2, axis=1) for leaf in credit)) for credit in found]
        for k in range(t + 1):
            assert abs(norms[t, k] - by_sequence[t - k].mean()) < 1e-12
        assert not norms[t, t + 1 :].any()


def test_a_linear_network_fades_as_its_eigenvalues_say():
    model = tb.rnn("linear", INPUTS, HIDDEN, OUTPUTS, "squared", radius=0.8, orthogonal=True)
    params = model.init(jax.random.key(0))
    _, _, batch = problem("tanh", length=60)
    norms = exact.credit_norms(model, params, batch)
    assert distance(norms, exact.linear_credit_norms(model, params, batch)) < 1e-12
    assert abs(exact.decay_rate(norms, 20, 50) - 0.8) < 0.02
    with pytest.raises(ValueError, match="first, last: lags with"):
        exact.decay_rate(norms, 20, 60)
    with pytest.raises(ValueError, match="a linear network is needed"):
        exact.linear_credit_norms(*problem("gru"))
    model, params, batch = problem("tanh")
    linear = tb.rnn("linear", 2, 3, 2, "squared")
    with pytest.raises(tb.UserError, match="resets stop credit, which eigenvalues do not know"):
        exact.linear_credit_norms(linear, linear.init(jax.random.key(0)), batch._replace(resets=batch.weights > 0))


def test_the_horizon_holds_95_percent_of_the_gradient():
    spectrum = exact.lag_spectrum(*problem("tanh"))
    flat = np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(spectrum.gradients))
    missing = [np.linalg.norm(flat[k + 1 :].sum(0)) / np.linalg.norm(flat.sum(0)) for k in range(LENGTH)]
    horizon = int(spectrum.horizon)
    assert all(missing[k] <= 0.05 for k in range(horizon, LENGTH))
    assert horizon == 0 or missing[horizon - 1] > 0.05


def test_an_estimator_without_a_known_law_is_sent_to_measure():
    class Mine(tb.GatedEstimator):
        unbiased = "never"

        def gates(self, key, length, batch_size):
            return jnp.ones((length, batch_size))

        def __str__(self):
            return "mine()"

    unknown = r"no closed form is known for mine\(\); use measure"
    for ask in (exact.variance, exact.expected_gradient, exact.gate_variances):
        with pytest.raises(ValueError, match=unknown):
            ask(Mine(), *problem("tanh"))
    with pytest.raises(ValueError, match="independent gates are needed"):
        exact.gate_variances(tb.ARTBP(3.0), *problem("tanh"))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"lags": 0}, "lags: a whole number from 1 to T = 6"),
        ({"lags": 7}, "lags"),
        ({"products_only": 0}, "products_only"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        exact.lag_spectrum(*problem("tanh"), **options)
    with pytest.raises(ValueError, match="scheme: unknown name 'windw'"):
        exact.bias_curve(exact.lag_spectrum(*problem("tanh")), "windw", [1])


def test_the_figure_of_the_definitions_page():
    """128 patterns of 7 gates: the closed form and the enumeration agree to the last digits in float64."""
    model, params, batch = problem("tanh", length=8, batch=1)
    keep = 0.6
    patterns = np.array(list(product((0.0, 1.0), repeat=7)))
    probabilities = np.prod(np.where(patterns > 0, keep, 1 - keep), axis=1)
    gates = np.concatenate([np.ones((128, 1)), patterns / keep], axis=1)[:, :, None]

    class Given(tb.GatedEstimator):
        unbiased = "never"

        def gates(self, key, length, batch_size):
            return key

    start = model.initial_state(params, 1)

    def one(given):
        return ravel_pytree(Given()(model, params, start, batch, given)[0].grads)[0]

    flat = np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(gates)))
    mean = probabilities @ flat
    enumerated = probabilities @ np.sum((flat - mean) ** 2, axis=1)
    assert abs(exact.variance(tb.Randomized(keep), model, params, batch) / enumerated - 1) < 1e-12
    exact_one = ravel_pytree(tb.gradient(tb.Full(), model, params, batch))[0]
    assert distance(subtract(mean, exact_one), 0 * mean) < 1e-12


def test_horizon_and_decay_survive_what_floats_cannot_hold():
    """Credit that underflows is left out of the fit; a gradient that is not finite has no horizon but all lags."""
    model = tb.rnn("linear", INPUTS, HIDDEN, OUTPUTS, "squared", radius=0.5, orthogonal=True)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model.init(jax.random.key(0)))
    batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), problem("tanh", length=200)[2])
    norms = exact.credit_norms(model, params, batch)
    assert norms.dtype == jnp.float32 and norms[-1, -1] == 0
    assert abs(exact.decay_rate(norms) - 0.5) < 0.01
    poisoned = batch._replace(inputs=batch.inputs.at[0, 0, 0].set(jnp.nan))
    assert exact.lag_spectrum(model, params, poisoned).horizon == 200


@thorough
def test_float32_parameters_in_a_float64_program():
    model, params, batch = problem("tanh")
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    data = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), batch)
    for est in (tb.Randomized(0.7), tb.ARTBP(3.0)):
        assert np.isclose(exact.variance(est, model, low, data), exact.variance(est, model, params, batch), rtol=1e-4)
    in_order = tb.Segment(4, in_order=True)
    whole = data._replace(weights=None)
    ours = tb.gradient(in_order, model, low, whole)
    assert distance(ours, tb.gradient(tb.Segment(4), model, low, whole)) < 1e-5
    flags = batch._replace(weights=batch.weights > 0.5)
    expected = tb.gradient(tb.Segment(4), model, params, flags._replace(weights=flags.weights * 1.0))
    assert distance(tb.gradient(in_order, model, params, flags), expected) < 1e-12


def test_a_bias_curve_needs_all_lags_and_lengths_that_can_be():
    with pytest.raises(ValueError, match="all 6 lags are needed, got 2"):
        exact.bias_curve(exact.lag_spectrum(*problem("tanh"), lags=2), "window", [2])
    for scheme, value in (("window", 0), ("segment", -3), ("geometric", 1.5)):
        with pytest.raises(ValueError, match="taus: numbers from"):
            exact.bias_curve(exact.lag_spectrum(*problem("tanh")), scheme, [value])


def test_one_compilation_serves_all_data_and_traced_numbers_are_taken_too():
    looked = []

    @dataclass(frozen=True)
    class Looked(tb.Randomized):
        def law(self, length):
            looked.append(length)
            return super().law(length)

    model, params, batch = problem("tanh")
    for function in (exact.variance, exact.expected_gradient, exact.gate_variances):
        found = function(Looked(0.7), model, params, batch)
        traced = len(looked)
        other = function(Looked(0.7), model, jax.tree.map(lambda leaf: 2 * leaf, params), batch)
        assert traced and len(looked) == traced and distance(found, other) > 1e-6
        assert distance(jax.jit(lambda keep, f=function: f(Looked(keep), model, params, batch))(0.7), found) < 1e-12
