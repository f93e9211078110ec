"""From how many sequences on unbiased truncation has the smaller error: by closed forms, and by drawing."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.analysis.break_even import GROUPS, BySequence, by_sequence, level
from tests.problems import problem
from tests.tiers import thorough

P = 20


def drawn(rng, count, bias, cut, data, spared):
    """Moments of sequences from a population whose parts are known: ‖g‖² = 1."""
    g = np.ones(P) / np.sqrt(P)
    b = g.copy()
    b[0] += np.sqrt(bias)
    rows = rng.normal(size=(count, P)) * np.sqrt(data / P)
    others = rng.normal(size=(count, P)) * np.sqrt(spared / P)
    exponential = rng.exponential(size=count)
    return BySequence(g + rows, cut * exponential), BySequence(b + others, np.zeros(count))


def test_the_level_is_that_of_the_formula_and_its_interval_covers():
    """n* = (cut + data − spared) / bias² = (2 + 3 − 1) / 0.5 = 8; at 95 %, fewer than 180 of 200 has a probability
    below 1e-2 if the interval is right."""
    rng = np.random.default_rng(0)
    found = [level(*drawn(rng, 256, 0.5, 2.0, 3.0, 1.0)) for _ in range(200)]
    assert abs(np.median([one.sequences for one in found]) / 8 - 1) < 0.05
    assert sum(one.low <= 8 <= one.high for one in found) >= 180
    assert abs(np.mean([one.bias_squared for one in found]) - 0.5) < 0.02
    assert abs(np.mean([one.cut for one in found]) - 2) < 0.1 and abs(np.mean([one.data for one in found]) - 3) < 0.15


def test_where_there_is_no_bias_or_no_noise():
    rng = np.random.default_rng(1)
    free = level(*drawn(rng, 256, 4.0, 0.1, 0.1, 5.0))
    assert free.sequences == free.low == free.high == 0.0  # the unbiased one is even less noisy
    unbiased, _ = drawn(rng, 256, 0.0, 2.0, 3.0, 1.0)
    never = level(unbiased, BySequence(unbiased.mean, np.zeros(256)))
    assert never.sequences == np.inf and never.bias_squared <= 0


@thorough
def test_the_moments_are_those_of_each_sequence():
    model, params, batch = problem("tanh")
    est = tb.Randomized(0.6)
    found = by_sequence(est, model, params, batch)
    for i in range(2):
        alone = jax.tree.map(lambda leaf, i=i: leaf[:, i : i + 1], batch)
        exact = ravel_pytree(jax.grad(tb.loss, 1)(model, params, alone))[0]
        assert np.max(np.abs(found.mean[i] - exact)) < 1e-12
        assert abs(found.drawn[i] - tb.exact.variance(est, model, params, alone)) < 1e-12


@thorough
def test_errors_that_are_drawn_are_level_there():
    """Averages of n* sequences, drawn with their gates: the mean squared errors of both agree within 5 standard errors,
    and at a quarter and at four times n* they stand as n* says."""
    count = 64
    model = tb.rnn("tanh", 2, 3, 2, "squared")
    params = model.init(jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), 2)
    inputs, targets = (1 + 0.3 * jax.random.normal(key, (6, count, 2)) for key in keys)
    batch = tb.Batch(inputs, targets)
    unbiased, biased = tb.Randomized(0.5), tb.Segment(2, "random")
    n = tb.exact.break_even(unbiased, biased, model, params, batch)
    assert n.low < n.sequences < n.high
    exact = ravel_pytree(jax.grad(tb.loss, 1)(model, params, batch))[0]

    def errors(est, sequences, key):
        @jax.jit
        def one(key):
            pick, gates = jax.random.split(key)
            chosen = jax.random.choice(pick, count, (sequences,))
            alone = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, chosen], 1, 0)[:, :, None], batch)
            grads = jax.vmap(lambda b, k: ravel_pytree(tb.gradient(est, model, params, b, k))[0])
            return jnp.sum((jnp.mean(grads(alone, jax.random.split(gates, sequences)), 0) - exact) ** 2)

        found = np.asarray(jax.lax.map(one, jax.random.split(key, 2000), batch_size=200))
        return found.mean(), found.std() / np.sqrt(len(found))

    for sequences, sign in ((max(1, round(n.sequences / 4)), 1), (round(4 * n.sequences), -1)):
        ours, theirs = (errors(est, sequences, jax.random.key(3)) for est in (unbiased, biased))
        assert sign * (ours[0] - theirs[0]) > 5 * np.hypot(ours[1], theirs[1]), (sequences, ours, theirs)


@thorough
def test_the_level_of_efficiencies_is_that_of_the_formula():
    """‖g‖ = 1, b = g + (√½, 0, ...), V_u = 5, V_b = 1: the n at which c² / (1 + V_b / (n ‖b‖²)) = 1 / (1 + V_u / n)."""
    rng = np.random.default_rng(3)
    found = [level(*drawn(rng, 256, 0.5, 2.0, 3.0, 1.0)) for _ in range(200)]
    norm, product = 1.5 + 2 * np.sqrt(0.5 / P), 1 + np.sqrt(0.5 / P)
    squared = product**2 / norm
    grid = np.exp(np.linspace(-3, 5, 100_001))
    gap = squared / (1 + 1 / (grid * norm)) - 1 / (1 + 5 / grid)
    n = grid[np.argmin(np.abs(gap))]
    assert abs(np.median([one.efficiency for one in found]) / n - 1) < 0.05
    assert abs(np.mean([one.cosine for one in found]) - np.sqrt(squared)) < 0.01
    assert sum(one.efficiency_low <= n <= one.efficiency_high for one in found) >= 180


def test_by_hand_in_numpy():
    """Backpropagation by hand through h_t = tanh(w h_{t−1} + x_t), loss ½ Σ (h_t − y_t)² / T, a single weight; the
    gates of all patterns enumerated, the segments of both offsets; no code of ours but the number itself."""
    length, count, keep = 4, 64, 0.5
    rng = np.random.default_rng(4)
    w, xs, ys = 0.9, rng.normal(0.5, 0.3, (count, length)), rng.normal(-0.5, 0.3, (count, length))

    def gradient(x, y, gates):
        h = np.zeros(length + 1)
        for t in range(length):
            h[t + 1] = np.tanh(w * h[t] + x[t])
        credit, total = 0.0, 0.0
        for t in reversed(range(length)):
            credit = credit + (h[t + 1] - y[t]) / length
            slope = credit * (1 - h[t + 1] ** 2)
            total += slope * h[t]
            credit = slope * w * gates[t]
        return total

    cuts = [np.array([1, *bits]) for bits in itertools.product([0, 1 / keep], repeat=length - 1)]
    chances = [np.prod([keep if gate else 1 - keep for gate in gates[1:]]) for gates in cuts]
    offsets = [np.array([1, 1, 0, 1]), np.array([1, 0, 1, 0])]
    ours = np.array([[gradient(x, y, gates) for gates in cuts] for x, y in zip(xs, ys)])
    theirs = np.array([[gradient(x, y, gates) for gates in offsets] for x, y in zip(xs, ys)])
    exact = ours @ chances
    cut = np.mean((ours - exact[:, None]) ** 2 @ chances)
    spared = np.mean(np.var(theirs, axis=1)) + np.var(theirs.mean(1), ddof=1)
    apart = theirs.mean(1) - exact
    bias = np.mean(apart) ** 2 - np.var(apart, ddof=1) / count
    n = (cut + np.var(exact, ddof=1) - spared) / bias

    def squared(output, target):
        return 0.5 * jnp.sum((output - target) ** 2, -1)

    model = tb.model(
        lambda key: {"w": jnp.asarray(w)},
        lambda params, batch_size: jnp.zeros((batch_size, 1)),
        lambda params, state, x: jnp.tanh(params["w"] * state + x),
        lambda params, state: state,
        squared,
    )
    batch = tb.Batch(jnp.asarray(xs.T[..., None]), jnp.asarray(ys.T[..., None]))
    found = tb.exact.break_even(tb.Randomized(keep), tb.Segment(2, "random"), model, {"w": jnp.asarray(w)}, batch)
    assert found.sequences == pytest.approx(n, rel=1e-9)


def test_what_is_needed_is_said():
    model, params, batch = problem("tanh")
    with pytest.raises(tb.UserError, match="break_even: an unbiased estimator is needed first, got window"):
        tb.exact.break_even(tb.Window(2), tb.Full(), model, params, batch)
    with pytest.raises(tb.UserError, match=f"at least {2 * GROUPS} sequences are needed to know their noise, got 2"):
        tb.exact.break_even(tb.Randomized(0.5), tb.Window(2), model, params, batch)
    with pytest.raises(tb.UserError, match="an estimator whose law is known is needed, got uoro"):
        tb.exact.break_even(tb.UORO(), tb.Window(2), model, params, batch)
