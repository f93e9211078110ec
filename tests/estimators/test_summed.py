"""Layers whose weights act through one sum: what snap, rflo and kf_rtrl make of it, of a user's own too."""

import dataclasses
from dataclasses import dataclass
from itertools import product

import jax
import jax.numpy as jnp
import pytest

import tbptt_jax as tb
from tbptt_jax.cells import Stack, SummedLayer, Tanh
from tbptt_jax.gradients.influence.sparse import ByEntries, kept
from tests.estimators.test_signs import with_given_noise
from tests.problems import BATCH, HIDDEN, INPUTS, QUICK, distance, problem
from tests.tiers import cases, thorough


@thorough
@pytest.mark.parametrize("name", cases(["tanh", "lstm"], QUICK))
def test_the_two_forms_of_a_sparse_influence_are_one(name):
    """By units, and by entries: a stack of one layer is the same network, and takes the other form."""
    model, params, batch = problem(name)
    stacked = dataclasses.replace(model, cell=Stack((model.cell,)))
    for est in (tb.SnAp(1), tb.RFLO(0.7)):
        ours = tb.gradient(est, model, params, batch)
        other = tb.gradient(est, stacked, params | {"cell": (params["cell"],)}, batch)
        assert distance(ours, other | {"cell": other["cell"][0]}) < 1e-12


def test_a_cell_that_does_more_than_its_base_is_not_taken_for_it():
    """A leaky cell is a tanh cell by inheritance; all that SnAp knows of it must come from its step."""

    @dataclass(frozen=True)
    class Keeping(Tanh):
        def step(self, params, state, x):
            return 0.8 * state + 0.2 * super().step(params, state, x)

    model, params, batch = problem("tanh")
    leaky = dataclasses.replace(model, cell=Keeping(INPUTS, HIDDEN))
    exact = jax.jit(jax.grad(lambda p: tb.loss(leaky, p, batch)))(params)
    assert distance(tb.gradient(tb.SnAp(2), leaky, params, batch), exact) < 1e-12
    form = kept(tb.SnAp().dynamics(leaky, params, leaky.initial_state(params, BATCH), batch.inputs[0]), 1)
    assert isinstance(form, ByEntries)
    with pytest.raises(ValueError, match="kf_rtrl: a model rnn"):
        tb.gradient(tb.KFRTRL(), leaky, params, batch, jax.random.key(0))


def test_kf_rtrl_names_the_cells_that_it_takes():
    for name in ("gru", "two layers", "linen"):
        with pytest.raises(tb.UserError, match=r"kf_rtrl: a model rnn.* of one layer is needed whose weights act"):
            tb.KFRTRL().init(*problem(name), None)


@dataclass(frozen=True)
class Leaky(SummedLayer):
    """A user's own cell that joins the contract: a unit keeps a part of its old value."""

    name = "leaky"

    def activate(self, state, summed):
        return 0.8 * state + 0.2 * jnp.tanh(summed)


@dataclass(frozen=True)
class Rate(SummedLayer):
    """Another of a user's own: the sum sees a function of the state."""

    name = "rate"

    def activate(self, state, summed):
        return 0.7 * state + 0.3 * summed

    def output(self, state):
        return jnp.tanh(state)


@dataclass(frozen=True)
class Neighbours(Rate):
    """One that breaks the contract in what the sum sees."""

    name = "neighbours"

    def output(self, state):
        return jnp.roll(state, 1, axis=-1)


@dataclass(frozen=True)
class Mixing(SummedLayer):
    """One that breaks it: a unit reads its neighbour's old value."""

    name = "mixing"

    def activate(self, state, summed):
        return jnp.tanh(summed) + 0.1 * jnp.roll(state, 1, axis=-1)


@pytest.mark.parametrize("cell", cases([Leaky, Rate], [Rate]), ids=lambda cell: cell.name)
def test_a_users_own_summed_layer_is_served_by_snap_rflo_and_kf_rtrl(cell):
    """By units and by entries the same; kf_rtrl on all sign patterns is the exact gradient."""
    model, params, batch = problem("tanh")
    leaky = dataclasses.replace(model, cell=cell(INPUTS, HIDDEN))
    dense = dataclasses.replace(model, cell=Stack((leaky.cell,)))
    for est in (tb.SnAp(1), tb.RFLO(0.7)):
        ours = tb.gradient(est, leaky, params, batch)
        other = tb.gradient(est, dense, params | {"cell": (params["cell"],)}, batch)
        assert distance(ours, other | {"cell": other["cell"][0]}) < 1e-12
    start = tb.SnAp().init(leaky, params, batch, None)
    assert start.influence.shape == (BATCH, 1, 1, HIDDEN, INPUTS + HIDDEN + 1)  # by units
    short = jax.tree.map(lambda leaf: leaf[:4, :1], batch._replace(weights=batch.weights + 0.1))
    signs = jnp.asarray(list(product((-1.0, 1.0), repeat=8))).reshape(-1, 4, 1, 2)
    est = with_given_noise(tb.KFRTRL())
    one = lambda signs: est(leaky, params, est.init(leaky, params, short, None), short, signs)[0].grads  # noqa: E731
    mean = jax.tree.map(lambda leaf: leaf.mean(0), jax.jit(jax.vmap(one))(signs))
    assert distance(mean, jax.grad(tb.loss, 1)(leaky, params, short)) < 1e-12


def test_a_summed_layer_that_breaks_its_word_is_named():
    model, params, batch = problem("tanh")
    said = {
        Mixing: "Mixing.activate: the new state of a unit depends on the state of others",
        Neighbours: "Neighbours.output: the output of a unit depends on the state of others",
    }
    for (cell, words), est in product(said.items(), (tb.SnAp(), tb.KFRTRL())):
        with pytest.raises(tb.UserError, match=words):
            est.init(dataclasses.replace(model, cell=cell(INPUTS, HIDDEN)), params, batch, None)
