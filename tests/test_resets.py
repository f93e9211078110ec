"""Episodes within a batch: a sequence with resets is as many sequences, in every estimator and exact analysis."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.forward import chunk_loss
from tbptt_jax.training.update import begin, estimated
from tests.problems import EVERY_MODEL, distance, problem
from tests.tiers import cases, thorough

LENGTH = 6
FIRST = (2, 5)  # the steps that a second episode begins with, in each of the two sequences
FORWARD = [tb.RTRL(), tb.SnAp(1), tb.SnAp(2), tb.RFLO(), tb.EProp()]


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
    "est", cases([tb.Window(2), tb.Window(4), tb.Window(2, states=3), *FORWARD], [tb.RFLO(), tb.EProp()]), ids=str
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


@pytest.mark.parametrize("est", cases([tb.KFRTRL(), tb.OK(), tb.RKFRTRL(), tb.UORO()], [tb.KFRTRL()]), ids=str)
def test_random_influence_stays_unbiased(est):
    model, params, batch = with_resets("tanh")
    assert tb.measure(est, model, params, batch, jax.random.key(1), 2048, level=1 - 1e-6).bias.low <= 0


class Episodes(tb.Recall):
    """The second episode of every sequence begins with its fifth step."""

    def batch(self, key):
        batch = super().batch(key)
        return batch._replace(resets=jnp.zeros(batch.inputs.shape[:2], bool).at[4].set(True))


EPISODES = Episodes(5, batch_size=2)


@pytest.mark.parametrize(
    "est",
    cases([tb.Full(), tb.Segment(4), tb.Rolling(4, 2), tb.ARTBP(3), tb.RTRL(), tb.OK(), tb.PES()], [tb.Full()]),
    ids=str,
)
def test_training_reads_resets(est):
    whole = tb.Recall(5, batch_size=2)
    histories = [
        tb.train(task.model("tanh", 3), est, task, optax.sgd(0.1), steps=2, key=jax.random.key(0))
        for task in (EPISODES, whole)
    ]
    ours, other = (history.held_out for history in histories)
    assert jnp.all(jnp.isfinite(ours)) and not jnp.allclose(ours, other, rtol=1e-6)


@pytest.mark.parametrize("cut", [2, 5])
def test_what_is_read_again_after_a_cut_resets_nothing(cut):
    """An update at a cut of a stream ends in the state there, whatever the steps after it would reset."""

    class Cut(tb.ARTBP):
        def gates(self, key, length, batch_size):
            return jnp.ones((length, batch_size)).at[cut].set(0.0)

    class Stream(tb.Mimic):
        def chunk(self, source, steps=None):
            batch, fresh, source = super().chunk(source, steps)
            return batch._replace(resets=jnp.zeros(batch.inputs.shape[:2], bool).at[4].set(True)), fresh, source

    task = Stream(length=6, batch_size=2)
    model = task.model("tanh", 3)
    run = begin(model, Cut(3), task, optax.sgd(0.1), jax.random.key(0))
    _, state, _, read = jax.jit(partial(estimated, model, Cut(3), task))(run, *jax.random.split(jax.random.key(1)))
    batch = task.chunk(run.source, jnp.array(cut))[0]
    assert read == cut
    kept = jax.tree.map(lambda leaf: leaf[:cut], batch)
    assert distance(state, chunk_loss(model, run.params, run.carry, kept)[1]) < 1e-12


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
