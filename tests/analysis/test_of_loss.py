"""Measuring a user's own loss: the same figures as for the model that it comes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import tbptt_jax as tb
from tbptt_jax.analysis.of_loss import fitted
from tests.problems import LENGTH, distance, estimates, full_gradient, problem
from tests.tiers import thorough

MODEL, PARAMS, BATCH_DATA = problem("gru")


def own_loss(params, batch):
    """What a user has: a function; that a Model is behind it nobody knows."""
    return tb.loss(MODEL, params, batch)


def test_the_bias_of_all_lengths_is_that_of_the_estimators():
    of_loss, of_model = (tb.exact.truncation_bias(what, PARAMS, BATCH_DATA) for what in (own_loss, MODEL))
    full = ravel_pytree(full_gradient("gru"))[0]
    for name, kind in (("window", tb.Window), ("segment", tb.Segment)):
        assert distance(of_loss[name], of_model[name]) < 1e-12
        grads = [ravel_pytree(tree)[0] for tree in estimates("gru", [kind(tau) for tau in range(1, LENGTH + 1)])]
        for i, g in enumerate(grads):
            assert abs(of_loss[name].squared_bias[i] - jnp.sum((g - full) ** 2)) < 1e-12
            assert abs(of_loss[name].relative_bias[i] - jnp.linalg.norm(g - full) / jnp.linalg.norm(full)) < 1e-6
            cosine = g @ full / jnp.linalg.norm(g) / jnp.linalg.norm(full)
            assert abs(of_loss[name].cosine[i] - cosine) < 1e-12
    spectrum = tb.exact.lag_spectrum(MODEL, PARAMS, BATCH_DATA)
    curve = tb.exact.bias_curve(spectrum, "window", range(1, LENGTH + 1))
    assert distance(of_loss["window"].squared_bias, curve.squared_bias) < 1e-12


@thorough
def test_the_bias_of_some_lengths_is_that_of_all():
    of_all, some = (tb.exact.truncation_bias(own_loss, PARAMS, BATCH_DATA, taus) for taus in (None, [2, 5]))
    assert distance(some["segment"].cosine, of_all["segment"].cosine[jnp.asarray([1, 4])]) < 1e-12


@thorough
def test_sampling_and_cost_accept_a_loss():
    key = jax.random.key(0)
    biased = tb.measure(tb.Segment(2), own_loss, PARAMS, BATCH_DATA, key, samples=64)
    exact = tb.exact.truncation_bias(own_loss, PARAMS, BATCH_DATA, [2])["segment"].squared_bias[0]
    assert abs(biased.bias.value - exact) < 1e-12 and biased.variance.value < 1e-20
    shared = tb.Randomized(0.7, shared=True)  # one draw for all sequences, as a loss without a batch axis has
    noisy = tb.measure(tb.Randomized(0.7), own_loss, PARAMS, BATCH_DATA, key, samples=2**14, level=1 - 1e-6)
    variance = tb.exact.variance(shared, MODEL, PARAMS, BATCH_DATA)
    assert noisy.variance.low < variance < noisy.variance.high and noisy.bias.low == 0
    ours, theirs = (tb.cost(tb.Segment(2), what, PARAMS, BATCH_DATA) for what in (own_loss, MODEL))
    assert ours.depth == theirs.depth and abs(ours.flops / theirs.flops - 1) < 0.02


def test_the_picture_says_its_message():
    figure = tb.plot_bias(own_loss, PARAMS, BATCH_DATA)
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert axes.get_title(loc="left").startswith("Segments of 6 steps stay within 10%")
    assert [line.get_label() for line in axes.lines][:2] == ["window", "segment"]
    short = tb.plot_bias(own_loss, PARAMS, BATCH_DATA, taus=[1, 2])
    assert short.axes[0].get_title(loc="left") == "Segments of 2 steps miss more than 10% of the gradient"


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda: fitted(own_loss, tb.Segment(2)), "est: an estimator such as Segment.16. is needed, got <function"),
        (lambda: fitted(tb.Segment, own_loss), r"est: an estimator is needed, got the class; write Segment\(\.\.\.\)"),
        (lambda: fitted("segment(2)", own_loss), r"est: .* got a text; write tb\.make_estimator\('segment\(2\)'\)"),
        (lambda: tb.cost(tb.RTRL(), own_loss, PARAMS, BATCH_DATA), "for a loss an estimator that cuts is needed"),
        (lambda: tb.cost(tb.Segment(2), PARAMS, PARAMS, BATCH_DATA), "model: a Model or a function loss"),
        (lambda: tb.exact.truncation_bias(lambda p, b: 0.0, PARAMS, BATCH_DATA), "there is no loop that could be cut"),
        (lambda: tb.exact.truncation_bias(own_loss, PARAMS, BATCH_DATA, [0]), "taus: whole numbers of at least 1"),
    ],
)
def test_mistakes_are_named(ask, words):
    with pytest.raises(tb.UserError, match=words):
        ask()


@thorough
def test_a_model_of_five_functions():
    """The way back: estimators that go forward in time need a step."""
    made = tb.model(MODEL.init, MODEL.initial_state, MODEL.step, MODEL.readout, MODEL.losses)
    assert hash(made) == hash(tb.model(MODEL.init, MODEL.initial_state, MODEL.step, MODEL.readout, MODEL.losses))
    assert distance(tb.gradient(tb.RTRL(), made, PARAMS, BATCH_DATA), full_gradient("gru")) < 1e-12
    assert np.isfinite(tb.loss(made, made.init(jax.random.key(0)), BATCH_DATA))
