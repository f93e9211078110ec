"""Episodes within a batch: a sequence with resets is as many sequences, in every estimator and exact analysis."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

import tbptt_jax as tb
from tests.problems import EVERY_MODEL, distance, problem
from tests.tiers import cases, thorough

LENGTH = 6
FIRST = (2, 5)  # the steps that a second episode begins with, in each of the two sequences
FORWARD = [tb.RTRL(), tb.SnAp(1), tb.SnAp(2)]


def with_resets(name):
    model, params, batch = problem(name)
    steps = jnp.arange(LENGTH)[:, None]
    return model, params, batch._replace(resets=steps == jnp.array(FIRST))


def apart(name):
    """The episodes one by one, each on its own, with their shares of the weights."""
    _, _, batch = problem(name)
    total = jnp.sum(batch.weights)
    for i, first in enumerate(FIRST):
        for part in (slice(0, first), slice(first, LENGTH)):
            one = jax.tree.map(lambda leaf, part=part, i=i: leaf[part, i : i + 1], batch)
            yield one, jnp.sum(one.weights) / total


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_the_loss_and_the_gradient_are_those_of_separate_sequences(name):
    model, params, batch = with_resets(name)
    episodes = list(apart(name))

    @jax.jit
    def losses_and_gradients(params):
        return [jax.value_and_grad(tb.loss, 1)(model, params, one) for one in (batch, *(one for one, _ in episodes))]

    (whole, grads), *found = losses_and_gradients(params)
    parts = [(share, *one) for (_, share), one in zip(episodes, found)]
    assert abs(whole - sum(share * loss for share, loss, _ in parts)) < 1e-12
    summed = jax.tree.map(lambda *leaves: sum(leaves), *(jax.tree.map(lambda g, s=s: s * g, g) for s, _, g in parts))
    assert distance(grads, summed) < 1e-12
    few = [tb.Full(states=2), tb.Buffered(6, 2, states=2)] if name == "tanh" else []
    for est in (tb.Full(), tb.Buffered(6, 2), tb.RTRL(), *few):
        assert distance(tb.gradient(est, model, params, batch), grads) < 1e-11, str(est)


@pytest.mark.parametrize(
    "est", cases([tb.Window(2), tb.Window(4), tb.Window(2, states=3), *FORWARD], [tb.RTRL()]), ids=str
)
def test_a_truncation_is_that_of_separate_sequences(est):
    model, params, batch = with_resets("tanh")
    episodes = list(apart("tanh"))
    whole, *parts = jax.jit(
        lambda: [tb.gradient(est, model, params, one) for one in (batch, *(one for one, _ in episodes))]
    )()
    summed = jax.tree.map(lambda *leaves: sum(s * g for (_, s), g in zip(episodes, leaves)), *parts)
    assert distance(whole, summed) < 1e-12


@pytest.mark.parametrize(
    "est", cases([tb.Segment(2), tb.Segment(3, 1, in_order=True), tb.Segment(4, states=2)], [tb.Segment(2)]), ids=str
)
def test_segments_are_laid_over_the_whole_sequence(est):
    """By hand: plain `jax.grad` of a loop that starts anew where it is told to, and stops the gradient at each cut."""
    model, params, batch = with_resets("tanh")
    gates = tb.Segment(est.tau, est.offset).gates(None, LENGTH, 2)

    def loss(params):
        total, state = 0.0, model.initial_state(params, 2)
        for t in range(LENGTH):
            state = jax.lax.stop_gradient(state) * (1 - gates[t][:, None]) + state * gates[t][:, None]
            state = jnp.where(batch.resets[t][:, None], 0.0, state)
            state = model.step(params, state, batch.inputs[t])
            total += jnp.sum(batch.weights[t] * model.losses(model.readout(params, state), batch.targets[t]))
        return total / jnp.sum(batch.weights)

    assert distance(tb.gradient(est, model, params, batch), jax.jit(jax.grad(loss))(params)) < 1e-12


@thorough
def test_what_is_exact_and_what_is_sampled_knows_of_resets():
    model, params, batch = with_resets("tanh")
    grads = jax.jit(jax.grad(partial(tb.loss, model)))(params, batch)
    spectrum = tb.exact.lag_spectrum(model, params, batch)
    assert distance(jax.tree.map(lambda leaf: jnp.sum(leaf, 0), spectrum.gradients)["cell"], grads["cell"]) < 1e-12
    norms = tb.exact.credit_norms(model, params, batch._replace(resets=batch.resets.at[:].set(batch.resets[:, :1])))
    t, lag = jnp.meshgrid(jnp.arange(LENGTH), jnp.arange(LENGTH), indexing="ij")
    crosses = (t >= FIRST[0]) & (t - lag < FIRST[0]) & (t >= lag)
    assert jnp.all(norms[crosses] == 0) and jnp.all(norms[~crosses & (t >= lag)] > 0)
    assert distance(tb.exact.expected_gradient(tb.Randomized(0.7), model, params, batch), grads) < 1e-12
    exact = tb.exact.variance(tb.Randomized(0.7), model, params, batch)
    m = tb.measure(tb.Randomized(0.7), model, params, batch, jax.random.key(1), 1024, level=1 - 1e-6)
    assert m.variance.low <= exact <= m.variance.high and m.bias.low <= 0 <= m.bias.high


def test_training_reads_resets():
    class Episodes(tb.Copy):
        def batch(self, key):
            batch = super().batch(key)
            return batch._replace(resets=jnp.zeros(batch.inputs.shape[:2], bool).at[4].set(True))

    import optax

    task = Episodes(length=6, batch_size=2, longest=3)
    history = tb.train(task.model("tanh", 3), tb.Window(2), task, optax.sgd(0.1), steps=2, key=jax.random.key(0))
    assert history.held_out.shape == (2,)


@pytest.mark.parametrize(
    "resets, words",
    [
        (jnp.zeros((6, 3), bool), r"resets: shape \[6, 2\] is needed"),
        (jnp.zeros((5, 2), bool), r"resets: shape \[6, 2\] is needed"),
        (jnp.zeros((6, 2)), "resets: booleans are needed, true where an episode begins, got float"),
        (jnp.zeros((6, 2), int), "resets: booleans are needed"),
    ],
)
def test_what_cannot_be_is_refused(resets, words):
    model, params, batch = problem("tanh")
    for ask in (lambda b: tb.loss(model, params, b), lambda b: tb.gradient(tb.Window(2), model, params, b)):
        with pytest.raises(tb.UserError, match=words):
            ask(tb.Batch(batch.inputs, batch.targets, batch.weights, resets))
