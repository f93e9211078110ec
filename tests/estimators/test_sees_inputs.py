"""Gates that depend on what is read, or on states: cuts at a symbol, random cuts where one stands, cuts by a unit."""

from dataclasses import dataclass
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tests.problems import distance
from tests.tiers import thorough

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


@dataclass(frozen=True)
class ByState(tb.GatedEstimator):
    """No credit flows back into a state whose first unit is on, nor at a step that reads symbol 0."""

    unbiased = "never"
    sees_inputs = True
    sees_states = True

    def gates(self, key, length, batch_size, inputs, states):
        return jnp.where(states[..., 0] > 0, 0.0, 1.0 - inputs[..., 0])


@dataclass(frozen=True)
class PerhapsByState(tb.GatedEstimator):
    """One draw of cuts at states whose first unit is on, unbiased."""

    kept: tuple = ()
    unbiased = "chunk"
    sees_states = True

    def gates(self, key, length, batch_size, states):
        kept = jnp.reshape(jnp.array(self.kept), (length, 1))
        return jnp.where(states[..., 0] > 0, 2.0 * kept, 1.0)


def states_before(params, inputs):
    """The states that steps start from, by a loop of our own."""
    states = [MODEL.initial_state(params, inputs.shape[1])]
    for x in inputs[:-1]:
        states.append(MODEL.step(params, states[-1], x))
    return jnp.stack(states)


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


@thorough
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


def over_patterns(cls):
    """The estimates of all patterns of draws."""
    patterns = jnp.array(list(product((False, True), repeat=LENGTH)))
    return jax.jit(jax.vmap(lambda kept: tb.gradient(cls(kept=kept), MODEL, PARAMS, DATA)))(patterns)


def test_random_gates_at_a_symbol_are_unbiased():
    """Over all patterns, each of the same probability: the gradient, to the last digit."""
    exact = jax.grad(tb.loss, 1)(MODEL, PARAMS, DATA)
    found = over_patterns(Pattern)
    assert distance(jax.tree.map(lambda leaf: leaf.mean(0), found), exact) < 1e-12
    assert distance(jax.tree.map(lambda leaf: leaf[0], found), exact) > 1e-3


def test_a_model_is_cut_where_its_states_say():
    gates = jnp.where(states_before(PARAMS, DATA.inputs)[..., 0] > 0, 0.0, 1 - DATA.inputs[..., 0])
    assert 0 < gates.sum() < (1 - DATA.inputs[..., 0]).sum()  # of both kinds
    expected = by_hand(PARAMS, DATA.inputs, gates)
    assert distance(tb.gradient(ByState(), MODEL, PARAMS, DATA), expected) < 1e-12
    assert distance(tb.gradient(ByState(states=2), MODEL, PARAMS, DATA), expected) < 1e-12


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_and_a_program_are_cut_where_their_states_say(reverse):
    @dataclass(frozen=True)
    class OfProgram(ByState):
        """A loop of a program reads a list of arrays, and carries one."""

        def gates(self, key, length, batch_size, inputs, states):
            return super().gates(key, length, batch_size, inputs[0], states[0])

    def f(h, x):
        h = MODEL.step(PARAMS, h, x)
        return h, h

    def last(scan, xs, **cut):
        return scan(f, jnp.zeros((BATCH, 4)), xs, reverse=reverse, **cut)[1].sum()

    read = jnp.flip(DATA.inputs, 0) if reverse else DATA.inputs
    gates = jnp.where(states_before(PARAMS, read)[..., 0] > 0, 0.0, 1 - read[..., 0])
    gates = jnp.flip(gates, 0) if reverse else gates
    expected = jax.grad(lambda xs: last(tb.scan, xs, gates=gates))(DATA.inputs)
    found = jax.grad(lambda xs: last(tb.scan, xs, truncation=ByState(), batch_axis=0))(DATA.inputs)
    assert distance(found, expected) < 1e-12
    program = tb.truncate(lambda xs: last(jax.lax.scan, xs), OfProgram(), batch_axis=0)
    assert distance(jax.grad(program)(DATA.inputs), expected) < 1e-12


def test_random_gates_by_state_are_unbiased():
    exact = jax.grad(tb.loss, 1)(MODEL, PARAMS, DATA)
    found = over_patterns(PerhapsByState)
    assert distance(jax.tree.map(lambda leaf: leaf.mean(0), found), exact) < 1e-12
    assert distance(jax.tree.map(lambda leaf: leaf[0], found), exact) > 1e-3


@thorough
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
