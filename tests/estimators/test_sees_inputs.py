"""Gates that depend on what is read: cuts at a symbol, and random cuts where a symbol stands."""

from dataclasses import dataclass
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tests.problems import distance

LENGTH, BATCH, SYMBOLS = 6, 2, 3
MODEL = tb.rnn("tanh", inputs=SYMBOLS, hidden=4, outputs=SYMBOLS)
PARAMS = MODEL.init(jax.random.key(0))
SYMBOL = jax.random.randint(jax.random.key(1), (LENGTH + 1, BATCH), 0, SYMBOLS)
DATA = tb.Batch(jax.nn.one_hot(SYMBOL[:-1], SYMBOLS), SYMBOL[1:])


@dataclass(frozen=True)
class AtSymbol(tb.GatedEstimator):
    """No credit flows back beyond a step that reads symbol 0."""

    unbiased = "never"
    sees_inputs = True

    def gates(self, key, length, batch_size, inputs):
        return 1.0 - inputs[..., 0]


@dataclass(frozen=True)
class Perhaps(tb.GatedEstimator):
    """The same with probability 1/2, and unbiased."""

    unbiased = "chunk"
    sees_inputs = True

    def gates(self, key, length, batch_size, inputs):
        return self.where(jax.random.bernoulli(key, 0.5, (length, batch_size)), inputs)

    def where(self, kept, inputs):
        return jnp.where(inputs[..., 0] > 0, 2.0 * kept, 1.0)


@dataclass(frozen=True)
class Pattern(Perhaps):
    """One draw of it."""

    kept: tuple = ()

    def gates(self, key, length, batch_size, inputs):
        return self.where(jnp.reshape(jnp.array(self.kept), (length, 1)), inputs)


def by_hand(params, inputs, gates):
    """The gradient with credit stopped by gates `[T, B]` of 0 and 1, by stop_gradient in a loop of our own."""

    def loss(params):
        state, total = MODEL.initial_state(params, inputs.shape[1]), 0.0
        for t in range(len(inputs)):
            state = gates[t][:, None] * state + (1 - gates[t][:, None]) * jax.lax.stop_gradient(state)
            state = MODEL.step(params, state, inputs[t])
            total += MODEL.losses(MODEL.readout(params, state), DATA.targets[t]).mean()
        return total / len(inputs)

    return jax.grad(loss)(params)


def test_a_model_is_cut_where_its_inputs_say():
    expected = by_hand(PARAMS, DATA.inputs, 1 - DATA.inputs[..., 0])
    assert distance(tb.gradient(AtSymbol(), MODEL, PARAMS, DATA), expected) < 1e-12
    assert distance(tb.gradient(AtSymbol(states=2), MODEL, PARAMS, DATA), expected) < 1e-12
    assert distance(jax.grad(tb.loss, 1)(MODEL, PARAMS, DATA), expected) > 1e-4


def test_resets_are_no_part_of_what_it_sees():
    resets = jnp.zeros((LENGTH, BATCH), bool).at[3].set(True)
    found = tb.gradient(AtSymbol(), MODEL, PARAMS, DATA._replace(resets=resets))
    parts = [
        tb.gradient(AtSymbol(), MODEL, PARAMS, jax.tree.map(lambda leaf, part=part: leaf[part], DATA))
        for part in (slice(None, 3), slice(3, None))
    ]
    assert distance(found, jax.tree.map(lambda a, b: (a + b) / 2, *parts)) < 1e-12


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_cut_where_its_inputs_say(reverse):
    def f(h, x):
        h = MODEL.step(PARAMS, h, x)
        return h, h

    def last(xs, **cut):
        start = jnp.zeros((BATCH, 4))
        return tb.scan(f, start, xs, reverse=reverse, **cut)[1].sum()

    gates = 1 - DATA.inputs[..., 0]
    found = jax.grad(last)(DATA.inputs, truncation=AtSymbol(), batch_axis=0)
    assert distance(found, jax.grad(last)(DATA.inputs, gates=gates)) < 1e-12
    alone = jax.grad(lambda x: last(x, truncation=AtSymbol(), batch_axis=0))(DATA.inputs)
    assert distance(found, alone) == 0


def test_a_program_is_cut_where_its_inputs_say():
    def loss(params, inputs):
        def f(h, x):
            h = MODEL.step(params, h, x)
            return h, MODEL.losses(MODEL.readout(params, h), jnp.zeros(BATCH, int))

        return jax.lax.scan(f, jnp.zeros((BATCH, 4)), inputs)[1].mean()

    @dataclass(frozen=True)
    class First(AtSymbol):
        """A loop of a program reads a list of arrays."""

        def gates(self, key, length, batch_size, inputs):
            return 1.0 - inputs[0][..., 0]

    found = jax.grad(tb.truncate(loss, First(), batch_axis=0))(PARAMS, DATA.inputs)
    zeros = DATA._replace(targets=jnp.zeros_like(DATA.targets))
    assert distance(found, tb.gradient(AtSymbol(), MODEL, PARAMS, zeros)) < 1e-12


def test_random_gates_at_a_symbol_are_unbiased():
    """Over all patterns, each of the same probability: the gradient, to the last digit."""
    exact = jax.grad(tb.loss, 1)(MODEL, PARAMS, DATA)
    patterns = list(product((False, True), repeat=LENGTH))
    found = [tb.gradient(Pattern(kept=pattern), MODEL, PARAMS, DATA) for pattern in patterns]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(patterns), *found)
    assert distance(mean, exact) < 1e-12
    assert max(distance(one, exact) for one in found) > 1e-3


def test_it_is_measured_and_trained():
    measured = tb.measure(Perhaps(), MODEL, PARAMS, DATA, jax.random.key(0), samples=256)
    assert measured.bias.low <= 0 < measured.variance.low
    task = tb.Recall(distance=4, batch_size=4)
    history = tb.train(
        task.model("tanh", 4), AtSymbol(), task, optax.adam(1e-2), steps=3, key=jax.random.key(0), evaluations=1
    )
    assert np.isfinite(history.loss).all()


def test_gates_without_inputs_are_refused():
    with pytest.raises(tb.UserError, match="depend on what is read"):
        AtSymbol().checked_gates(None, LENGTH, BATCH)
