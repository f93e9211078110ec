"""Dropout and zoneout: what a network sees in training and where it is evaluated."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tbptt_jax as tb
from tbptt_jax.lab.masked import Dropout, Zoneout
from tests.problems import distance
from tests.tiers import cases, thorough

TEXT = tb.Copy(length=12, batch_size=3, longest=3)


@thorough
def test_without_dropout_it_is_the_network():
    task = Dropout(TEXT, 1.0, 5)
    params = jax.jit(task.model("gru").init)(jax.random.key(0))
    masked, plain = jax.jit(task.batch)(jax.random.key(1)), jax.jit(TEXT.batch)(jax.random.key(1))
    ours, theirs = task.model("gru"), TEXT.model("gru", 5)
    gradient = jax.jit(jax.grad(tb.loss, 1), static_argnums=0)
    assert distance(gradient(ours, params, masked), gradient(theirs, params, plain)) < 1e-12


def test_dropout_is_seen_by_the_readout_alone_and_has_mean_one():
    task = Dropout(replace(TEXT, batch_size=400), 0.75, 6)
    model = task.model("tanh")
    masks = jax.jit(task.batch)(jax.random.key(0)).inputs[1]
    assert set(np.unique(masks)) == {0.0, 1 / 0.75} and abs(masks.mean() - 1) < 0.02  # 28,800 draws: 0.0034 each way
    params = model.init(jax.random.key(1))
    state = model.initial_state(params, 2)
    x = jnp.ones((2, TEXT.inputs))
    kept, dropped = (model.step(params, state, (x, jnp.full((2, 6), mask))) for mask in (1.0, 0.0))
    np.testing.assert_array_equal(kept[0], dropped[0])
    assert np.ptp(model.readout(params, dropped), axis=0).max() == 0 != np.abs(model.readout(params, kept)).max()
    np.testing.assert_array_equal(jax.jit(task.held_out)(jax.random.key(2)).inputs[1], 1.0)


@pytest.mark.parametrize("keep", cases([0.0, 1.0], [0.0]))
def test_zoneout_keeps_the_old_state_or_takes_the_new_one(keep):
    task = Zoneout(TEXT, keep, 4)
    model, inner = task.model("tanh"), TEXT.model("tanh", 4)
    params, state = model.init(jax.random.key(0)), jnp.full((3, 4), 0.5)
    x, masks = jax.tree.map(lambda leaf: leaf[0], task.batch(jax.random.key(1)).inputs)
    expected = state if keep else inner.step(params, state, x)
    np.testing.assert_allclose(model.step(params, state, (x, masks)), expected)


def test_a_stream_goes_on_where_it_stopped_with_fresh_masks():
    task = Zoneout(TEXT, 0.5, 4)
    read = jax.jit(task.chunk)
    first, fresh, source = read(jax.jit(task.start)(jax.random.key(0)))
    second, again, _ = read(source)
    assert task.streams and bool(fresh) and not bool(again)
    assert np.any(first.inputs[1] != second.inputs[1])


@pytest.mark.parametrize("kind", cases([Dropout, Zoneout], [Zoneout]))
@pytest.mark.parametrize("task", [TEXT, tb.Adding(length=6, batch_size=2)], ids=lambda task: task.name)
@pytest.mark.parametrize(
    "options", cases([{"cell": "lstm"}, {"cell": "tanh", "layers": 2}], lambda options: "layers" in options), ids=str
)
def test_any_network_and_any_target(kind, task, options):
    masked = kind(task, 0.5, 4)
    model = masked.model(**options)
    batch = jax.jit(masked.batch)(jax.random.key(0))
    loss = jax.jit(lambda key: tb.loss(model, model.init(key), batch))
    assert np.isfinite(loss(jax.random.key(1)))


def test_what_cannot_be_is_refused():
    with pytest.raises(tb.UserError, match="keep"):
        Zoneout(TEXT, 5.0, 4)
    with pytest.raises(tb.UserError, match="keep"):
        Dropout(TEXT, 0.0, 4)
    with pytest.raises(tb.UserError, match="hidden: the masks are of 4 units, got 32"):
        Zoneout(TEXT, 0.5, 4).model("tanh", 32)


def test_a_cell_that_draws_by_itself_is_refused():
    class Forgetful(nnx.GRUCell):
        def __init__(self, inputs, hidden, *, rngs):
            super().__init__(inputs, hidden, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, carry, x):
            return super().__call__(carry, self.drop(x))

    with pytest.raises(ValueError, match="cell: one that draws nothing of its own is needed"):
        Dropout(TEXT, 0.5, 4).model(Forgetful)
