"""Operations counted by hand, loops as often as they turn, and memory that grows as it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tbptt_jax.benchmarks.memory import measured
from tests.problems import distance, estimates, gradient_looking_back
from tests.tiers import cases, thorough

T, B, D, H, K = 10, 3, 4, 5, 2


def network(length=T, hidden=H, cell="linear"):
    model = tb.rnn(cell, D, hidden, K, "squared")
    params = model.init(jax.random.key(0))
    return model, params, tb.Batch(jnp.ones((length, B, D)), jnp.ones((length, B, K)))


def test_a_matrix_product_and_a_sum():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    assert count(lambda a, b: a @ b, a, b) == (2 * 3 * 4 * 5, 0)
    assert count(lambda a: jnp.sum(jnp.tanh(a) * 2), a)[0] == 3 * 12
    assert count(lambda a: jnp.concatenate([a.T, a.T]).reshape(-1), a)[0] == 0
    assert count(lambda a, b: (a @ b) + (a @ b), a, b)[0] == 2 * 60 + 15  # written twice, done once


def test_loops_count_as_often_as_they_turn():
    w, h = jnp.ones((H, H)), jnp.ones((B, H))
    step = 2 * B * H * H

    def scanned(w, h):
        return lax.scan(lambda h, _: (h @ w, None), h, None, length=7)[0]

    def nested(w, h):
        return lax.scan(lambda h, _: (scanned(w, h), None), h, None, length=3)[0]

    def dynamic(w, h, turns):
        return lax.fori_loop(0, turns, lambda _, h: h @ w, h)

    def dynamic_in_a_scan(w, h):
        return lax.scan(lambda h, n: (dynamic(w, h, n), None), h, jnp.arange(4))[0]

    def branching(w, h, which):
        return lax.cond(which, lambda h: h @ w @ w, lambda h: h, h)

    assert count(scanned, w, h) == (7 * step, 7)
    assert count(nested, w, h) == (21 * step, 21)
    flops, depth = count(dynamic, w, h, jnp.asarray(9))
    assert depth == 9 and 9 * step <= flops <= 9 * (step + 1)  # and the counter's own addition
    flops, depth = count(dynamic_in_a_scan, w, h)
    assert 6 * step <= flops <= 6 * (step + 1) and depth == 1 + 1 + 2 + 3
    assert (
        count(branching, w, h, jnp.asarray(True))[0] == 2 * step and count(branching, w, h, jnp.asarray(False))[0] == 0
    )


def test_nothing_is_computed_that_no_loop_asks_for():
    """Eight terabytes of ones; a loop that turns as often as a small sum says, and gives a large result."""
    side = 10**6
    assert count(lambda x: jnp.sum(jnp.ones((side, side)) * x), 1.0)[0] == 2 * side**2
    step, turns = (lambda _, h: h + 1.0), jnp.arange(4)

    def looped(x):
        h = lax.fori_loop(0, jnp.sum(turns), step, x)
        return jnp.sum(jnp.ones((side, side)) * h)

    flops, depth = count(looped, 1.0)
    assert depth == 6 and flops >= 2 * side**2 + 6


def test_depth_is_the_longest_path():
    x = jnp.ones(2)
    turn = lambda n: lambda x: lax.scan(lambda h, _: (jnp.sin(h), None), x, None, length=n)[0]  # noqa: E731
    assert count(lambda x: turn(3)(x) + turn(5)(x), x)[1] == 5
    assert count(lambda x: turn(3)(turn(5)(x)), x)[1] == 8


@pytest.mark.parametrize("cell", cases(["linear", "tanh"], ["tanh"]))
@pytest.mark.parametrize("T", [T, 70])  # at a stretch, and in several
def test_networks_by_hand(cell, T):
    """Forward D·H + H·H a step, J: H·H; F: D·H + H·H; the readout forward and back by state and by weight: 3 H·K. All
    twice: × and +. Nothing is computed again on the way back."""
    cost = tb.cost(tb.Full(), *network(T, cell=cell))
    products = 2 * T * B * (2 * (D * H + H * H) + H * H + 3 * H * K)
    assert 0 <= cost.flops - products <= T * B * (20 * H + 10 * K) + 2 * (H * D + H * H)
    assert cost.depth == 2 * T
    doubled = tb.cost(tb.Full(), *network(2 * T, cell=cell))
    assert doubled.depth == 4 * T and abs(doubled.flops / cost.flops - 2) < 0.05


def test_depth_and_work_of_each_kind_of_cut():
    def of(est):
        return tb.cost(est, *network(40))

    assert of(tb.Segment(8)).depth == 40 + 8
    assert of(tb.Window(8)).depth == 40 + 7
    assert of(tb.Buffered(16, 8)).depth == 40 + 16
    assert of(tb.Randomized(0.5)).depth == 80
    a_lag = of(tb.Window(9)).flops - of(tb.Window(8)).flops
    assert 2 * 40 * B * H * H <= a_lag <= 2 * 40 * B * H * H + 3 * 40 * B * H


def test_a_dynamic_window_is_counted_with_its_trips():
    model, params, batch = network(40)

    def flops(tau):
        return count(lambda est: tb.gradient(est, model, params, batch), tb.Window(tau))[0]

    a_lag = flops(9) - flops(8)
    assert 2 * 40 * B * H * H <= a_lag <= 2 * 40 * B * H * H + 3 * 40 * B * H


@pytest.mark.parametrize("name", cases(["tanh", "two layers", "nnx"], []))
def test_segments_in_order_are_the_same_segments(name):
    ests = [tb.Segment(4, in_order=True), tb.Segment(4, 3, in_order=True), tb.Segment(2, in_order=True)]
    found = estimates(name, ests)
    assert distance(found[0], gradient_looking_back(name, lambda t: t % 4)) < 1e-12
    assert distance(found[1], gradient_looking_back(name, lambda t: t if t < 3 else (t - 3) % 4)) < 1e-12
    assert distance(found[2], gradient_looking_back(name, lambda t: t % 2)) < 1e-12


@pytest.mark.parametrize("tau", cases([2, 4, 50], [4]))
def test_segments_in_order_from_a_random_offset_are_those_side_by_side(tau):
    model, params, batch = network(11)
    start = model.initial_state(params, B)

    @jax.jit
    def both(key):
        return [tb.Segment(tau, "random", in_order)(model, params, start, batch, key) for in_order in (True, False)]

    for seed in range(6):
        (ours, after), (theirs, end) = both(jax.random.key(seed))
        assert distance(ours, theirs) < 1e-12 and distance(after, end) < 1e-12


@thorough
@pytest.mark.parametrize("offset", [3, "random"])
def test_segments_in_order_read_no_state_without_a_loss(offset):
    """A readout whose derivative is not a number at the first state, which is 0."""
    model, params, batch = network(11)

    def readout(params, h):
        return model.readout(params, h / jnp.sqrt(jnp.sum(h**2, -1, keepdims=True)))

    singular = tb.model(model.init, model.initial_state, model.step, readout, model.losses)
    start = model.initial_state(params, B)
    for seed in range(4):
        ours, theirs = (
            tb.Segment(4, offset, in_order)(singular, params, start, batch, jax.random.key(seed))[0]
            for in_order in (True, False)
        )
        assert distance(ours, theirs) < 1e-12


def test_segments_in_order_keep_no_more_than_there_is():
    assert measured("segment(tau=4096, in_order=True)", 32)["temporary_bytes"] < 2e6


def test_segments_in_order_need_constants_and_are_constants():
    with pytest.raises(ValueError, match="in_order needs a tau that is a Python number"):
        tb.Segment(jnp.arange(1, 4), in_order=True)
    assert jax.tree.leaves(tb.Segment(4, in_order=True)) == []
    model, params, batch = network()
    estimate, _ = tb.Segment(4, in_order=True)(model, params, model.initial_state(params, B), batch, None)
    assert np.isclose(estimate.loss, tb.loss(model, params, batch))
    assert distance(estimate.grads, tb.gradient(tb.Segment(4), model, params, batch)) < 1e-12
