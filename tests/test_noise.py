"""Models that draw: every estimator sees the noise that the forward pass saw, and evaluation sees none."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tests.problems import distance
from tests.tiers import cases, thorough

T, B, H = 7, 3, 4
KEY = jax.random.key(5)


@dataclass(frozen=True)
class Dropped(tb.Model):
    """A tanh network whose units are silent with probability a third, in training."""

    draws = True

    def init(self, key):
        W, V = jax.random.normal(key, (2, H, H)) / H**0.5
        return {"W": 1.5 * W, "V": V}

    def initial_state(self, params, batch_size):
        return jnp.zeros((batch_size, H))

    def step(self, params, state, x, key=None):
        new = jnp.tanh(state @ params["W"].T + x @ params["V"].T)
        return new if key is None else new * jax.random.bernoulli(key, 2 / 3, new.shape) * 1.5

    def readout(self, params, state):
        return state

    def losses(self, output, target):
        return jnp.sum((output - target) ** 2, axis=-1)


@pytest.fixture(scope="module")
def problem():
    model = Dropped()
    x, y = jax.random.normal(jax.random.key(1), (2, T, B, H))
    return model, model.init(jax.random.key(2)), tb.Batch(x, y)


def by_hand(model, params, batch, cut=lambda t: False):
    """The loss of `with_noise`'s model in a Python loop over steps and sequences, stopped where a cut is asked for."""
    inputs, numbers = batch.inputs
    total = 0.0
    for b in range(B):
        state = jnp.zeros((1, H))
        for t in range(T):
            state = jax.lax.stop_gradient(state) if cut(t) else state
            state = model.step(params, state, inputs[t, b][None], jax.random.wrap_key_data(numbers[t, b]))
            total += model.losses(state, batch.targets[t, b][None])[0] / (T * B)
    return total


def test_estimators_see_the_noise_of_the_forward_pass(problem):
    model, params, batch = problem
    noisy, drawn = tb.with_noise(model, batch, KEY)
    assert len(np.unique(drawn.inputs[1].reshape(T * B, -1), axis=0)) == T * B
    assert sum(distance(by_hand(model, params, drawn), value) < 1e-12 for value in [tb.loss(noisy, params, drawn)]) == 1
    wanted = jax.jit(jax.grad(lambda params: by_hand(model, params, drawn)))(params)
    for est in (tb.Full(), tb.Segment(T), tb.Window(T), tb.RTRL(), tb.Full(states=2)):
        assert distance(tb.gradient(est, noisy, params, drawn), wanted) < 1e-12, est
    cut = jax.jit(jax.grad(lambda params: by_hand(model, params, drawn, lambda t: t % 3 == 0)))(params)
    assert distance(tb.gradient(tb.Segment(3), noisy, params, drawn), cut) < 1e-12
    assert distance(cut, wanted) > 1e-3
    mean = tb.exact.expected_gradient(tb.Randomized(0.5), noisy, params, drawn)
    assert distance(mean, wanted) < 1e-12


def test_a_key_draws_anew_and_the_same_key_the_same(problem):
    model, params, batch = problem
    one, again, other = (tb.gradient(tb.Full(), model, params, batch, jax.random.key(k)) for k in (0, 0, 1))
    assert distance(one, again) == 0 and distance(one, other) > 1e-3
    with pytest.raises(ValueError, match=r"key: Dropped\(\) draws at random, which needs one"):
        tb.gradient(tb.Full(), model, params, batch)


def test_evaluation_draws_nothing(problem):
    model, params, batch = problem
    quiet = replace(model)
    state, total = jnp.zeros((B, H)), 0.0
    for x, y in zip(batch.inputs, batch.targets):
        state = quiet.step(params, state, x)
        total += jnp.mean(quiet.losses(state, y)) / T
    assert abs(float(tb.loss(model, params, batch) - total)) < 1e-12


def test_measured_with_one_draw_an_exact_estimator_is_exact(problem):
    model, params, batch = problem
    found = tb.measure(tb.RTRL(), model, params, batch, KEY, samples=64)
    assert float(found.mse.value) < 1e-20


@dataclass(frozen=True)
class Still(tb.Recall):
    """One batch, again and again, for a model of the same sizes."""

    def batch(self, key):
        x, y = jax.random.normal(jax.random.key(1), (2, T, B, H))
        return tb.Batch(x, y)

    @property
    def length(self):
        return T


@pytest.mark.parametrize("est", cases([tb.Full(), tb.Randomized(0.5), tb.UORO()], [tb.Full()]))
def test_training_draws_anew_at_every_update(est):
    def run(model):
        return tb.train(model, est, Still(), optax.sgd(0.0), steps=4, evaluations=4, key=KEY)

    history = run(Dropped())
    assert len(set(history.loss.tolist())) == 4 and len(set(history.held_out.tolist())) == 1
    assert np.array_equal(run(Dropped()).loss, history.loss)


class Forgetful(nnx.RNNCellBase):
    """A GRU that does not see all of its inputs."""

    def __init__(self, inputs, hidden, *, rngs, rate=0.5):
        self.cell, self.drop = nnx.GRUCell(inputs, hidden, rngs=rngs), nnx.Dropout(rate, rngs=rngs)

    def __call__(self, carry, x):
        return self.cell(carry, self.drop(x))

    def initialize_carry(self, shape, rngs=None):
        return self.cell.initialize_carry(shape, rngs)

    @property
    def num_feature_axes(self):
        return 1


class Reader(Forgetful):
    """One that reads symbols."""

    def __init__(self, inputs, hidden, *, rngs):
        self.embed, self.cell = nnx.Embed(inputs, 3, rngs=rngs), nnx.GRUCell(3, hidden, rngs=rngs)

    def __call__(self, carry, x):
        return self.cell(carry, self.embed(x))

    def initialize_carry(self, shape, rngs=None):
        return self.cell.initialize_carry((*shape, 3), rngs)


@thorough
def test_an_nnx_cell_with_dropout_draws_in_training_and_not_in_evaluation():
    model = tb.rnn(Forgetful, inputs=H, hidden=H, outputs=2, loss="squared")
    params = model.init(jax.random.key(0))
    batch = tb.Batch(jax.random.normal(KEY, (T, B, H)), jnp.ones((T, B, 2)))
    plain = tb.rnn(nnx.GRUCell, inputs=H, hidden=H, outputs=2, loss="squared")
    same = params | {"cell": params["cell"]["cell"]}
    assert model.draws and not plain.draws
    assert abs(float(tb.loss(model, params, batch) - tb.loss(plain, same, batch))) < 1e-6
    exact = tb.gradient(tb.Full(), model, params, batch, KEY)
    for est in (tb.RTRL(), tb.Window(T), tb.Segment(T)):
        assert distance(tb.gradient(est, model, params, batch, KEY), exact) < 1e-6, est
    assert distance(tb.gradient(tb.Full(), model, params, batch, jax.random.key(6)), exact) > 1e-4
    stacked = tb.rnn(Forgetful, inputs=H, hidden=H, outputs=2, loss="squared", layers=2)
    weights = stacked.init(jax.random.key(0))
    pair = (tb.gradient(est, stacked, weights, batch, KEY) for est in (tb.Full(), tb.RTRL()))
    assert stacked.draws and distance(*pair) < 1e-6


@thorough
def test_an_nnx_cell_with_an_embedding_reads_symbols():
    symbols = jax.random.randint(KEY, (T, B), 0, 5)
    model = tb.rnn(Reader, inputs=5, hidden=H, outputs=2, loss="squared")
    params, targets = model.init(jax.random.key(0)), jnp.ones((T, B, 2))
    plain = tb.rnn(nnx.GRUCell, inputs=3, hidden=H, outputs=2, loss="squared")
    table = params["cell"]["embed"]["embedding"]

    def spelled(table):
        return tb.loss(plain, params | {"cell": params["cell"]["cell"]}, tb.Batch(table[symbols], targets))

    ours = tb.gradient(tb.Full(), model, params, tb.Batch(symbols, targets))
    assert distance(ours["cell"]["embed"]["embedding"], jax.jit(jax.grad(spelled))(table)) < 1e-6
    assert distance(tb.gradient(tb.RTRL(), model, params, tb.Batch(symbols, targets)), ours) < 1e-6
    with pytest.raises(ValueError, match=r"inputs: whole numbers \[T, B\] are needed, got float"):
        tb.loss(model, params, tb.Batch(jax.nn.one_hot(symbols, 5), targets))


def test_flax_cells_that_cannot_be_are_told_what_to_do():
    class Normed(Forgetful):
        def __init__(self, inputs, hidden, *, rngs):
            self.cell, self.drop = nnx.GRUCell(inputs, hidden, rngs=rngs), nnx.BatchNorm(inputs, rngs=rngs)

    with pytest.raises(ValueError, match=r"this one also changes BatchStat; cut the loss that calls it: tb\.truncate"):
        tb.rnn(Normed, inputs=H, hidden=H, outputs=2)

    class Drops(linen.RNNCellBase):
        @linen.compact
        def __call__(self, carry, x):
            return linen.GRUCell(H)(carry, linen.Dropout(0.5, deterministic=False)(x))

        def initialize_carry(self, key, shape):
            return linen.GRUCell(H, parent=None).initialize_carry(key, shape)

        @property
        def num_feature_axes(self):
            return 1

    with pytest.raises(ValueError, match="a linen cell that draws"):
        tb.rnn(Drops(), inputs=H, hidden=H, outputs=2)


@thorough
def test_the_state_of_a_module_that_is_given_as_variables_is_brought_on():
    """nnx.split leaves variables; a loss that draws moves their counters, cut or not."""
    made = [nnx.RNN(Forgetful(H, H, rngs=nnx.Rngs(0)), time_major=True) for _ in range(2)]
    x = jnp.ones((T, B, H), jnp.float32)
    ends = []
    for network, change in zip(made, (lambda loss: loss, lambda loss: tb.truncate(loss, tb.Segment(2)))):
        graph, params, rest = nnx.split(network, nnx.Param, ...)
        value = change(lambda params, rest, graph=graph: nnx.merge(graph, params, rest)(x).sum())(params, rest)
        ends.append((float(value), [int(leaf) for leaf in jax.tree.leaves(nnx.filter_state(rest, nnx.RngCount))]))
    assert ends[0] == ends[1] and max(ends[0][1]) == T
    assert ravel_pytree(nnx.state(made[0], nnx.Param))[0].size
