"""Estimators that go forward in time, in float64: against full backpropagation, and by hand."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tbptt_jax.models import sequence_shape
from tests.problems import BATCH, EVERY_MODEL, HIDDEN, distance, full_gradient, problem, scaled
from tests.tiers import cases, thorough

CHUNKS = 3


def stream_gradient(est, name, chunks):
    """The gradient of a whole sequence's loss from its chunks, parameters held."""
    model, params, batch = problem(name)
    length = len(batch.inputs) // chunks

    @jax.jit
    def run(params):
        def one(carry, chunk):
            estimate, carry = est(model, params, carry, chunk, None)
            return carry, scaled(jnp.sum(chunk.weights) / jnp.sum(batch.weights), estimate.grads)

        parts = jax.tree.map(lambda leaf: leaf.reshape(chunks, length, *leaf.shape[1:]), batch)
        _, grads = jax.lax.scan(one, est.init(model, params, batch, None), parts)
        return jax.tree.map(lambda leaf: leaf.sum(0), grads)

    return run(params)


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_rtrl_is_full_backpropagation_across_chunks(name):
    assert distance(stream_gradient(tb.RTRL(), name, CHUNKS), full_gradient(name)) < 1e-12
    if name == "lstm":
        assert distance(stream_gradient(tb.RTRL(), name, 1), full_gradient(name)) < 1e-12
        assert distance(stream_gradient(tb.Full(), name, CHUNKS), full_gradient(name)) > 1e-4


@pytest.mark.parametrize("name", ["two layers"])
def test_snap_of_all_steps_is_rtrl(name):
    assert distance(stream_gradient(tb.SnAp(100), name, CHUNKS), full_gradient(name)) < 1e-12


@cache
def matrices(name):
    """J `[T, B, H, H]`, F `[T, B, H, P]` and e `[T, B, H]` of a problem with one layer, by plain jacobians; and the
    gradient through the readout."""
    model, params, batch = problem(name)
    flat, restore = ravel_pytree(params["cell"])

    @jax.jit
    def run():
        def step(state, x):
            def one(flat, moving, state, x):
                restored = ravel_pytree(state)[1](moving)
                after = model.cell.step(restore(flat), jax.tree.map(lambda s: s[None], restored), x[None])
                return ravel_pytree(after)[0]

            moving = jax.vmap(lambda s: ravel_pytree(s)[0])(state)
            both = jax.vmap(jax.jacfwd(one, (0, 1)), (None, 0, 0, 0))(flat, moving, state, x)
            return model.step(params, state, x), (model.step(params, state, x), *both)

        _, (states, direct, jacobian) = jax.lax.scan(step, model.initial_state(params, BATCH), batch.inputs)

        def loss(params, states):
            losses = jax.vmap(lambda s, y: model.losses(model.readout(params, s), y))(states, batch.targets)
            return jnp.sum(batch.weights * losses) / jnp.sum(batch.weights)

        readout, e = jax.grad(loss, (0, 1))(params, states)
        e = jax.vmap(jax.vmap(lambda leaf: ravel_pytree(leaf)[0]))(e)
        return jacobian, direct, e, readout

    jacobian, direct, e, readout = run()
    return np.asarray(jacobian), np.asarray(direct), np.asarray(e), readout, restore


def by_recursion(name, carry_on):
    """Σ_t e_t M_t with M_t = carry_on(J_t, F_t, M_{t−1}), in NumPy."""
    jacobian, direct, e, readout, restore = matrices(name)
    flat = 0.0
    for b in range(BATCH):
        influence = np.zeros(direct.shape[2:])
        for t in range(len(e)):
            influence = carry_on(jacobian[t, b], direct[t, b], influence)
            flat = flat + e[t, b] @ influence
    return readout | {"cell": restore(jnp.asarray(flat))}


@pytest.mark.parametrize("name", cases(["tanh", "lstm", "gru"], ["tanh"]))
def test_snap_1_keeps_the_direct_pattern(name):
    """By hand: a parameter's pattern is where F is ever nonzero; for tanh, J is its diagonal."""
    pattern = np.any(matrices(name)[1] != 0, axis=(0, 1))
    by_hand = by_recursion(name, lambda j, f, m: np.where(pattern, f + j @ m, 0))
    assert distance(stream_gradient(tb.SnAp(1), name, 1), by_hand) < 1e-12
    if name == "tanh":
        diagonal = by_recursion(name, lambda j, f, m: f + np.diag(np.diag(j)) @ m)
        assert distance(by_hand, diagonal) < 1e-12
        assert distance(by_hand, full_gradient(name)) > 1e-3


@dataclass(frozen=True)
class Chain(tb.Model):
    """Each unit reads itself and the one after it: a weight reaches one more unit with every step."""

    size: int = 4

    def init(self, key):
        return {"w": jax.random.normal(key, (self.size,)), "a": jnp.full(self.size, 0.7)}

    def initial_state(self, params, batch_size):
        return jnp.full((batch_size, self.size), 0.3)

    def step(self, params, state, x):
        after = jnp.concatenate([state[:, 1:], x], axis=1)
        return jnp.tanh(params["a"] * state + params["w"] * after)

    def readout(self, params, state):
        return state

    def losses(self, output, target):
        return 0.5 * jnp.sum((output - target) ** 2, axis=1)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_snap_n_reaches_n_units_along_a_chain(n):
    """By hand: w_i and a_i act on unit i at once, and on unit i − k after k more steps."""
    model, length = Chain(), 7
    keys = jax.random.split(jax.random.key(5), 3)
    params, inputs = model.init(keys[0]), jax.random.normal(keys[1], (length, 1, 1))
    targets = jax.random.normal(keys[2], (length, 1, 4))
    a, w, h, influence, gradient = (
        np.asarray(params["a"]),
        np.asarray(params["w"]),
        np.full(4, 0.3),
        np.zeros((4, 8)),
        0.0,
    )
    reach = np.array([[0 <= i - unit < n for i in range(4)] for unit in range(4)])
    for x, y in zip(np.asarray(inputs)[:, 0, 0], np.asarray(targets)[:, 0]):
        after = np.concatenate([h[1:], [x]])
        new = np.tanh(a * h + w * after)
        slope = np.diag(1 - new**2)
        jacobian = slope @ (np.diag(a) + np.diag(w[:-1], 1))
        direct = slope @ np.concatenate([np.diag(h), np.diag(after)], axis=1)
        influence = np.where(np.concatenate([reach, reach], axis=1), direct + jacobian @ influence, 0)
        h = new
        gradient = gradient + (h - y) / length @ influence
    ours = tb.gradient(tb.SnAp(n), model, params, tb.Batch(inputs, targets))
    assert np.abs(np.concatenate([ours["a"], ours["w"]]) - gradient).max() < 1e-12
    assert tb.SnAp(n).init(model, params, tb.Batch(inputs, targets), None).influence.shape == (1, 8, n)


@pytest.mark.parametrize("name, leak", [("tanh", 0.0), ("lstm", 0.6)])
def test_rflo_leaks(name, leak):
    by_hand = by_recursion(name, lambda j, f, m: f + leak * m)
    assert distance(stream_gradient(tb.RFLO(leak), name, CHUNKS), by_hand) < 1e-12


@thorough
@pytest.mark.parametrize("cell, width", cases([("tanh", 1), ("lstm", 2)], [("tanh", 1)]))
def test_sparse_influence_costs_as_much_as_the_parameters(cell, width):
    """Twice the units are four times the recurrent weights, the numbers that are carried, and the work; for the dense
    influence the work grows 16 times."""

    def operations(est, hidden):
        model = tb.rnn(cell, 2, hidden, 2)
        params = model.init(jax.random.key(0))
        batch = tb.Batch(jnp.zeros((2, 1, 2)), jnp.zeros((2, 1), int))
        carry = jax.eval_shape(lambda p: est.init(model, p, batch, None), params)
        weights = sum(leaf.size for leaf in jax.tree.leaves(params["cell"]))
        assert est == tb.RTRL() or sum(leaf.size for leaf in jax.tree.leaves(carry.influence)) == width * weights
        return count(lambda p: est(model, p, est.init(model, p, batch, None), batch, None), params)[0]

    for est in (tb.SnAp(1), tb.RFLO(0.5)):
        assert 3 < operations(est, 16) / operations(est, 8) <= 4
    assert operations(tb.RTRL(), 12) / operations(tb.RTRL(), 6) > 8


@thorough
def test_what_a_step_connects_is_looked_at_once_for_a_model_and_its_shapes():
    def patterns(name):
        model, params, batch = problem(name)
        dynamics = tb.SnAp(1).dynamics(model, params, model.initial_state(params, BATCH), batch.inputs[0])
        return dynamics.patterns

    (jacobian, direct), again, other = patterns("tanh"), patterns("tanh"), patterns("lstm")
    assert again[0] is jacobian and again[1] is direct and not direct.flags.writeable
    assert other[0].shape == (2 * HIDDEN, 2 * HIDDEN) != jacobian.shape

    model = tb.model(  # of any size, by its parameters
        lambda key: jnp.eye(3),
        lambda params, batch_size: jnp.ones((batch_size, len(params))),
        lambda params, state, x: state @ params,
        lambda params, state: state,
        lambda output, target: output.sum(-1),
    )
    for size in (3, 2):
        params = jnp.eye(size)
        dynamics = tb.RTRL().dynamics(model, params, model.initial_state(params, BATCH), jnp.ones((BATCH, 1)))
        assert dynamics.patterns[1].shape == (size, size**2)


def test_a_model_that_looks_up_its_inputs_is_taken_as_dense():
    """Rows of a table that no drawn input would show are not dropped: snap of all steps is the exact gradient."""

    @dataclass(frozen=True)
    class Table(Chain):
        def init(self, key):
            return super().init(key) | {"E": jax.random.normal(key, (5, self.size))}

        def step(self, params, state, x):
            return jnp.tanh(params["a"] * jnp.roll(state, 1, axis=1) + params["E"][x] + params["w"])

    model, symbols = Table(), jnp.array([[0], [3], [4], [1], [2]])
    params = model.init(jax.random.key(0))
    batch = tb.Batch(symbols, jnp.ones((5, 1, 4)))
    assert distance(tb.gradient(tb.SnAp(9), model, params, batch), tb.gradient(tb.Full(), model, params, batch)) < 1e-12


def test_parameters_of_another_float_are_taken():
    model, params, batch = problem("tanh")
    single, batch32 = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, batch))
    for est in (tb.RTRL(), tb.SnAp(1), tb.KFRTRL()):
        grads = tb.gradient(est, model, single, batch32, jax.random.key(0))
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(grads))


def test_an_example_batch_is_asked_for_by_name():
    with pytest.raises(tb.UserError, match=r"batch: a Batch\(inputs, targets\) of arrays .* is needed, got 2"):
        sequence_shape(2)


@dataclass(frozen=True)
class Choosing(tb.Model):
    """Units apart, or all together where the first number of the input is a flag that is set."""

    way: str

    def init(self, key):
        return {"W": 0.5 * jax.random.normal(key, (3, 3)), "a": jnp.array([0.3, 0.6, 0.9])}

    def initial_state(self, params, batch_size):
        return jnp.ones((batch_size, 3))

    def step(self, params, state, x):
        flag, together, apart = x[:, :1], jnp.tanh(state @ params["W"]), params["a"] * state + x[:, 1:]
        if self.way == "where":
            return jnp.where(flag >= 1, together, apart)
        if self.way == "a product":
            is_set = (flag >= 1).astype(state.dtype)
            return is_set * together + (1 - is_set) * apart
        if self.way == "floor":
            return jnp.floor(flag) * together + apart
        if self.way == "relu":
            return apart + jax.nn.relu(state @ params["W"] - 5 + 7 * flag)
        if self.way == "a whole number":
            count = (flag >= 1).astype(int)
            return count * together + (1 - count) * apart
        if self.way == "a table":
            return jnp.stack([apart, together])[(flag[:, 0] >= 1).astype(int)[0]]
        if self.way == "an order":
            return jax.lax.top_k(apart, 3)[0]
        if self.way == "of both signs":
            return jnp.where(flag >= 1, together, -together)
        if self.way == "masked":
            return jax.nn.sigmoid(jnp.where(flag >= 1, state @ params["W"], -jnp.inf)) + apart
        if self.way == "cond":
            choose = jax.vmap(lambda flag, *ways: jax.lax.cond(flag[0] >= 1, lambda: ways[0], lambda: ways[1]))
            return choose(flag, together, apart)
        return jax.lax.fori_loop(0, 2, lambda _, state: jnp.where(flag >= 1, together, state), apart)

    def readout(self, params, state):
        return state

    def losses(self, output, target):
        return jnp.sum((output - target) ** 2, axis=-1)


WAYS = [
    *(
        "where",
        "a product",
        "floor",
        "relu",
        "a whole number",
        "a table",
        "an order",
        "of both signs",
        "masked",
        "cond",
        "a loop",
    ),
]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_step_connects_is_seen_in_all_of_its_branches(way):
    inputs = jax.random.normal(jax.random.key(1), (6, 2, 4)).at[:, :, 0].set((jnp.arange(6) % 2)[:, None])
    model, batch = Choosing(way), tb.Batch(inputs, jnp.zeros((6, 2, 3)))
    params = model.init(jax.random.key(0))
    exact = jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch)
    assert distance(tb.gradient(tb.RTRL(), model, params, batch), exact) < 1e-12


def test_what_saturates_in_one_branch_is_seen_in_another():
    """A sum of all branches would hide it; and a loop that chooses, within a cell, counts as dense."""

    class Clipped(tb.SummedLayer):
        def activate(self, state, summed):
            return jnp.tanh(jnp.minimum(summed, 20.0)) + 0.1 * jnp.where(summed > 0, summed, -summed)

    class Turning(tb.SummedLayer):
        def activate(self, state, summed):
            return jax.lax.fori_loop(0, 2, lambda i, h: 0.5 * jax.nn.relu(h) + 0.1 * h, summed)

    batch = tb.Batch(jax.random.normal(jax.random.key(1), (5, 2, 3)), jnp.ones((5, 2), int))
    for cell in (Clipped, Turning):
        model = tb.rnn(cell, 3, 4, 2)
        params = model.init(jax.random.key(0))
        exact = jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch)
        for est in (tb.RTRL(), tb.SnAp(4)):
            assert distance(tb.gradient(est, model, params, batch), exact) < 1e-12
        near = tb.gradient(tb.SnAp(), model, params, batch)
        assert 0 < distance(near, exact) < 0.3
