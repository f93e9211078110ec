"""Windows and overlapping blocks against a loop of plain `jax.grad`, one a loss."""

import jax
import jax.numpy as jnp
import pytest

import tbptt_jax as tb
from tbptt_jax.forward import loss_of_states
from tests.problems import (
    BATCH,
    EVERY_MODEL,
    LENGTH,
    distance,
    estimates,
    full_gradient,
    gradient_looking_back,
    gradients_by_lag,
    problem,
    total,
)
from tests.tiers import cases


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_windows_see_their_lags(model):
    rnn, params, batch = problem(model)
    gradient = jax.jit(jax.vmap(lambda est: tb.gradient(est, rnn, params, batch)))
    stacked = gradient(tb.Window(jnp.arange(1, LENGTH)))
    windows = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(LENGTH - 1)]
    if model == "lstm":  # as constants of the program, too
        constants = estimates(model, [tb.Window(tau) for tau in range(1, LENGTH)])
        assert all(distance(a, b) < 1e-12 for a, b in zip(windows, constants))
    for tau, window in enumerate(windows, start=1):
        expected = total(gradients_by_lag(model)[:tau])
        assert distance(window, expected) < 1e-12
        assert distance(expected, full_gradient(model)) > 1e-6


def test_a_window_of_one_holds_all_states_constant():
    model, params, batch = problem("gru")

    def loss(params):
        state, states = model.initial_state(params, BATCH), []
        for x in batch.inputs:
            state = model.step(params, jax.lax.stop_gradient(state), x)
            states.append(state)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return loss_of_states(model, params, stacked, batch)

    expected = jax.jit(jax.grad(loss))(params)
    for window in estimates("gru", [tb.Window(1), tb.OutputOnly()]):
        assert distance(window, expected) < 1e-12


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_overlapping_blocks_see_between_k1_minus_k2_and_k1_minus_1_steps_back(model):
    (blocks,) = estimates(model, [tb.Buffered(4, 2)])
    assert distance(blocks, gradient_looking_back(model, lambda t: t % 2 + 2)) < 1e-12


EXACT = [tb.Randomized(1), tb.Segment(LENGTH), tb.Window(LENGTH), tb.Buffered(LENGTH, 1)]
LONGER = [tb.Full(), tb.Segment(10**6), tb.Window(10**6), tb.Buffered(LENGTH, LENGTH), tb.Buffered(10**6, 10**6)]
LONGER += [tb.Geometric(1), tb.Segment(1000, 999), tb.Buffered(10**6, 2)]


@pytest.mark.parametrize("model", EVERY_MODEL)
def test_everything_long_enough_is_full_backpropagation(model):
    ests = EXACT + LONGER if model == "tanh" else EXACT
    for est, grads in zip(ests, estimates(model, ests, jax.random.key(0))):
        assert distance(grads, full_gradient(model)) < 1e-12, est


@pytest.mark.parametrize(
    "sizes", cases([{"length": 1}, {"batch": 1}, {"length": 1, "batch": 1}], lambda sizes: len(sizes) == 2), ids=str
)
def test_one_step_and_one_sequence(sizes):
    ests = [tb.Full(), tb.Segment(3), tb.Window(3), tb.Buffered(4, 2), tb.Randomized(0.5), tb.ARTBP(3)]
    exact = full_gradient("lstm", **sizes)
    for est, grads in zip(ests, estimates("lstm", ests, jax.random.key(0), **sizes)):
        assert (distance(grads, exact) < 1e-12) == (sizes.get("length") == 1 or est == tb.Full())
