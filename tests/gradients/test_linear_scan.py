"""`linear_scan` is the loop of its recurrence, value by value and derivative by derivative; so are networks by it."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.cells import Stack
from tbptt_jax.gradients.cuts.definition import scan_by_definition
from tbptt_jax.models import Recurrence, Stopping
from tbptt_jax.tasks import AnBn
from tests.tiers import cases, thorough

STEPS, WIDTH = 13, 4


def close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, theirs)


def drawn(kind, *shape, seed=0):
    real, imaginary = jax.random.normal(jax.random.key(seed), (2, *shape))
    return real + 1j * imaginary if kind == "complex" else real


def problem(kind):
    """Factors that are shared by a batch, what is added, and the first state."""
    factors = 0.6 * drawn(kind, STEPS, 1, WIDTH, seed=1)
    return factors, drawn(kind, STEPS, 3, WIDTH, seed=2), drawn(kind, 3, WIDTH, seed=3)


def by_loop(factors, added, init, gates):
    def step(h, x):
        h = x[0] * h + x[1]
        return h, h

    return scan_by_definition(step, init, (factors, added), gates=gates)[1]


def read(states):
    """A number that depends on every state in another way, and not linearly."""
    weights = jnp.sin(jnp.arange(states.size).reshape(states.shape) + 1.0)
    return jnp.sum(weights * (jnp.abs(states) ** 2 + jnp.sin(states).real))


GATES = {
    "none": jnp.ones(STEPS),
    "weighted": jax.random.uniform(jax.random.key(4), (STEPS,)) * 2,
    "of each sequence": jax.random.bernoulli(jax.random.key(5), 0.7, (STEPS, 3)) / 0.7,
}


@pytest.mark.parametrize("kind", cases(["real", "complex"], ["complex"]))
@pytest.mark.parametrize("name", cases(GATES, ["of each sequence"]))
def test_it_is_the_loop_with_the_same_gates(kind, name):
    arguments, gates = problem(kind), GATES[name]

    def ours(*arguments):
        return read(tb.linear_scan(*arguments, gates=gates))

    def theirs(*arguments):
        return read(by_loop(*arguments, gates))

    every, moved = (0, 1, 2), tuple(drawn(kind, *leaf.shape, seed=6) for leaf in arguments)

    def derivatives(function):
        gradient = jax.grad(function, every)
        return (
            gradient(*arguments),
            jax.jvp(function, arguments, moved),
            jax.jvp(gradient, arguments, moved)[1],
            jax.vmap(lambda i: gradient(*(i * leaf for leaf in arguments)))(jnp.arange(3)),
        )

    close(*jax.jit(lambda: (tb.linear_scan(*arguments, gates=gates), by_loop(*arguments, gates)))())
    close(*jax.jit(lambda: (derivatives(ours), derivatives(theirs)))())


@pytest.mark.parametrize(
    "truncation",
    cases(
        [tb.Segment(4), tb.Segment(4, offset="random"), tb.Randomized(0.8), tb.ARTBP(4), tb.Full()],
        lambda est: est.name == "artbp",
    ),
    ids=str,
)
def test_a_truncation_draws_the_gates_that_it_draws_for_a_loop(truncation):
    factors, added, init = problem("real")

    def step(h, x):
        h = x[0] * h + x[1]
        return h, h

    def gradients(scan):
        return jax.jit(jax.grad(lambda *arguments: read(scan(*arguments)), (0, 1)))(factors, added)

    for axis in (None, 0):
        how = {"truncation": truncation, "key": jax.random.key(7), "batch_axis": axis}
        close(
            gradients(lambda a, b, how=how: tb.linear_scan(a, b, init, **how)),
            gradients(lambda a, b, how=how: tb.scan(step, init, (a, b), **how)[1]),
        )
    turned = gradients(
        lambda a, b: tb.linear_scan(*(leaf.mT for leaf in (a, b)), init.T, **(how | {"batch_axis": 1})).mT
    )
    close(turned, gradients(lambda a, b: tb.linear_scan(a, b, init, **how)))


@dataclass(frozen=True)
class Leaky(tb.Cell):
    """A user's own cell that is linear in its state."""

    inputs: int
    hidden: int

    def init(self, key):
        return {"kept": jnp.linspace(0.5, 0.9, self.hidden), "W": jax.random.normal(key, (self.hidden, self.inputs))}

    def initial_state(self, params, batch_size):
        return jnp.zeros((batch_size, self.hidden))

    def step(self, params, state, x):
        return params["kept"] * state + x @ params["W"].T

    def recurrence(self, params, start, inputs):
        factors = jnp.broadcast_to(params["kept"], (len(inputs), 1, self.hidden))
        return Recurrence(factors, inputs @ params["W"].T, start, lambda h: h)

    def output(self, state):
        return state


@dataclass(frozen=True)
class FromParameters(Leaky):
    """The same, whose episodes begin with other numbers than 0."""

    def initial_state(self, params, batch_size):
        return jnp.broadcast_to(1 + params["kept"], (batch_size, self.hidden))


def network(cell):
    """A network, its parameters, a batch and a key; "a + b" is a stack of two layers."""
    if " + " in str(cell):
        lower, upper = (tb.rnn(name, size, 4, 5).cell for name, size in zip(cell.split(" + "), (3, 4)))
        cell = Stack((lower, upper))
    model = tb.rnn(cell, 3, 4, 5)
    keys = jax.random.split(jax.random.key(0), 4)
    batch = tb.Batch(jax.random.normal(keys[1], (STEPS, 2, 3)), jax.random.randint(keys[2], (STEPS, 2), 0, 5))
    return model, model.init(keys[0]), batch, keys[3]


@pytest.mark.parametrize("cell", cases(["lru", "mingru", "mingru + lru", Leaky], ["mingru + lru"]))
@pytest.mark.parametrize("resets", cases([False, True], [True]))
@pytest.mark.parametrize(
    "est",
    cases([tb.Full(), tb.Segment(4), tb.Randomized(0.8), tb.ARTBP(3)], lambda est: est.name == "artbp"),
    ids=lambda est: est.name,
)
def test_networks_are_the_same_all_steps_at_once(cell, est, resets):
    """The estimate, and the state that the next chunk starts from; also where episodes begin within a batch."""
    model, params, batch, key = network(cell)
    if resets:
        if cell == Leaky:
            model = replace(model, cell=FromParameters(3, 4))
        batch = batch._replace(
            resets=jnp.zeros((STEPS, 2), bool).at[jnp.array([0, 3, 7]), jnp.array([1, 0, 1])].set(True)
        )
    at_once = replace(est, parallel=True)
    assert tb.make_estimator(str(at_once)) == at_once
    both = jax.jit(lambda carry: [how(model, params, carry, batch, key) for how in (est, at_once)])
    carry = est.init(model, params, batch, key)
    for _ in range(2):
        ours, theirs = both(carry)
        close(ours, theirs)
        _, carry = ours


def test_streams_that_stand_still_in_places_are_the_same():
    """As in training by artbp, which makes an update at its cuts."""
    model, params, batch, key = network("mingru + lru")
    stopping = Stopping(model)
    batch = batch._replace(inputs=(batch.inputs, jnp.arange(STEPS)[:, None] < jnp.array([5, STEPS])))
    carry = tb.Full().init(stopping, params, batch, key)
    ways = tb.Full(), tb.Full(parallel=True)
    close(*jax.jit(lambda: [est(stopping, params, carry, batch, key) for est in ways])())


@thorough
def test_training_with_updates_at_cuts_is_the_same():
    task = AnBn(most=4, length=8, batch_size=2)
    model, key = task.model("mingru", 3), jax.random.key(1)
    history = tb.train(model, tb.ARTBP(3.0, parallel=True), task, optax.sgd(0.1), steps=3, key=key, evaluations=1)
    other = tb.train(model, tb.ARTBP(3.0), task, optax.sgd(0.1), steps=3, key=key, evaluations=1)
    assert np.allclose(history.held_out, other.held_out, rtol=1e-12)


def test_it_takes_fewer_turns_than_steps():
    model = tb.rnn("mingru", 3, 4, 5)
    params = model.init(jax.random.key(0))
    batch = tb.Batch(np.ones((64, 2, 3)), np.ones((64, 2), int))
    loop, tree = (tb.cost(est, model, params, batch) for est in (tb.Full(), tb.Full(parallel=True)))
    assert loop.depth >= 128 and tree.depth < 8 and tree.flops < 10 * loop.flops


def test_mistakes_are_named():
    factors, added, init = problem("real")
    with pytest.raises(tb.UserError, match=r"factors: shape \[13, 3, 4\] is needed"):
        tb.linear_scan(factors[:5], added)
    with pytest.raises(tb.UserError, match=r"init: shape \[3, 4\]"):
        tb.linear_scan(factors, added, init[0])
    with pytest.raises(tb.UserError, match="floats or complex numbers"):
        tb.linear_scan(jnp.ones(3, int), jnp.ones(3, int))
    with pytest.raises(tb.UserError, match="one of the two"):
        tb.linear_scan(factors, added, truncation=tb.Full(), gates=jnp.ones(STEPS))
    with pytest.raises(tb.UserError, match="gates are needed, and window"):
        tb.linear_scan(factors, added, truncation=tb.Window(4))
    with pytest.raises(tb.UserError, match="nobody knows of a loop"):
        tb.scan(lambda h, x: (h, h), init, added, truncation=tb.Full(parallel=True))
    with pytest.raises(tb.UserError, match="leave parallel out"):
        tb.Segment(4, in_order=True, parallel=True)
    model = tb.rnn("tanh", 3, 4, 5)
    batch = tb.Batch(np.ones((4, 2, 3)), np.ones((4, 2), int))
    with pytest.raises(tb.UserError, match="parallel: a recurrence that is linear"):
        tb.gradient(tb.Full(parallel=True), model, model.init(jax.random.key(0)), batch)
    with pytest.raises(tb.UserError, match="leave states out"):
        linear = tb.rnn("mingru", 3, 4, 5)
        tb.gradient(tb.Full(parallel=True, states=2), linear, linear.init(jax.random.key(0)), batch)
    assert tb.linear_scan(factors[:0], added[:0]).shape == (0, 3, 4)


@pytest.mark.parametrize("scan", [tb.scan, None], ids=["step by step", "at once"])
def test_gates_of_sequences_lie_along_the_axis_that_is_said(scan):
    """What crosses the gates of one sequence reaches it alone, and from there the axis is the last."""
    gates = jnp.ones((4, 3)).at[2, 1].set(0.0)

    def after(init):
        if scan is None:
            return tb.linear_scan(jnp.ones((4, 3, 3)), jnp.ones((4, 3, 3)), init, gates=gates, batch_axis=1)[-1].sum()
        return tb.scan(lambda h, x: (h + x, None), init, jnp.ones((4, 3, 3)), gates=gates, batch_axis=1)[0].sum()

    assert jnp.array_equal(jax.grad(after)(jnp.zeros((3, 3))), jnp.ones((3, 3)).at[:, 1].set(0))
    with pytest.raises(tb.UserError, match=r"gates: .* \[4, B\] with B axis 5 of every state leaf"):
        tb.scan(lambda h, x: (h + x, None), jnp.zeros((3, 3)), jnp.ones((4, 3, 3)), gates=gates, batch_axis=5)
