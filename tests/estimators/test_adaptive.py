"""Adaptive windows: by hand, by their bound, and where what they assume does not hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.estimators.adaptive import FITS
from tests.problems import (
    LENGTH,
    distance,
    full_gradient,
    problem,
    scaled,
)
from tests.tiers import thorough


def test_adaptive_finds_the_shortest_window_whose_bias_is_small():
    """Norms that fall as 0.5^k are extended exactly; the bound is that of the triangle inequality."""
    est = tb.Adaptive(0.1, longest=8)
    lag = 0.5 ** jnp.arange(8)
    ones = {"prefix": jnp.full(8, 3.0), "share": jnp.ones(9), "chunks": jnp.array(1)}
    carry = est.init(*problem("tanh"), None)._replace(lag=lag, **ones)
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
    estimate, carry = jax.jit(lambda p: est(model, p, est.init(model, p, batch, None), batch, None))(params)
    spectrum = tb.exact.lag_spectrum(model, params, batch)
    assert np.allclose(carry.lag, spectrum.norms, rtol=1e-10)
    assert distance(estimate.grads, full_gradient("tanh")) < 1e-12
    norm = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(full_gradient("tanh"))) ** 0.5
    assert float(carry.prefix[-1]) == pytest.approx(norm, abs=1e-12)


@thorough
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
        estimate, carry = jax.jit(lambda p, e=est: e(model, p, e.init(model, p, batch, None), batch, None))(params)
        choice = est.choice(carry)
        relative = distance_2(estimate.grads, exact) / size
        assert relative <= float(choice.relative_bias) < delta
        chosen.append(int(choice.tau))
    assert chosen[0] < chosen[1] < chosen[2] < 24


@thorough
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
        estimate, carry = jax.jit(lambda p, e=est: e(model, p, e.init(model, p, batch, None), batch, None))(params)
        relative = distance_2(estimate.grads, exact) / distance_2(exact, scaled(0, exact))
        found[longest] = float(est.choice(carry).relative_bias), relative
    expected, measured = found[8]
    assert 2 * expected < 0.1 < measured
    expected, measured = found[64]
    assert measured < expected < 0.1


def distance_2(a, b):
    return float(sum(jnp.sum((x - y) ** 2) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))) ** 0.5
