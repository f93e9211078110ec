"""Cells whose recurrence is diagonal: real-time recurrent learning is exact, in proportion to the parameters."""

import jax
import jax.numpy as jnp
import pytest

import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tests.estimators.test_influence import Chain
from tests.problems import distance
from tests.tiers import cases, thorough

DIAGONAL = ["lru", "elstm", "mingru"]


@pytest.mark.parametrize("cell", cases(DIAGONAL, ["elstm"]))
def test_rtrl_of_a_diagonal_cell_is_full_backpropagation_in_as_many_numbers_as_parameters(cell):
    model = tb.rnn(cell, 3, 6, 2, "squared")
    params = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    batch = tb.Batch(jax.random.normal(keys[0], (9, 2, 3)), jax.random.normal(keys[1], (9, 2, 2)))
    exact = tb.gradient(tb.Full(), model, params, batch)
    assert distance(tb.gradient(tb.RTRL(), model, params, batch), exact) < 1e-12
    n = 2 if cell == "lru" else 1  # of complex units, a weight reaches the other part with the next step
    assert distance(tb.gradient(tb.SnAp(n), model, params, batch), exact) < 1e-12
    carried = tb.RTRL().init(model, params, batch, None).influence.size / 2
    weights = sum(leaf.size for leaf in jax.tree.leaves(params["cell"]))
    assert carried <= 2 * weights  # two numbers of a unit: real and imaginary, or c and h


@thorough
@pytest.mark.parametrize("cell", cases(DIAGONAL, lambda cell: cell == "elstm"))
def test_rtrl_of_a_diagonal_cell_costs_in_proportion_to_its_parameters(cell):
    def operations(hidden):
        model = tb.rnn(cell, 4, hidden, 2)
        params = model.init(jax.random.key(0))
        batch = tb.Batch(jnp.zeros((2, 1, 4)), jnp.zeros((2, 1), int))
        weights = sum(leaf.size for leaf in jax.tree.leaves(params["cell"]))
        est = tb.RTRL()
        return count(lambda p: est(model, p, est.init(model, p, batch, None), batch, None), params)[0] / weights

    assert operations(64) / operations(16) < 1.2  # a dense one has four times the operations a parameter


@thorough
def test_a_stack_of_diagonal_cells_is_exact_too():
    """Layers read what is new, so that a weight reaches its unit and all of the layers above at once, and no more."""
    model = tb.rnn("elstm", 3, 4, 2, "squared", layers=2)
    params = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    batch = tb.Batch(jax.random.normal(keys[0], (9, 2, 3)), jax.random.normal(keys[1], (9, 2, 2)))
    exact = tb.gradient(tb.Full(), model, params, batch)
    assert distance(tb.gradient(tb.RTRL(), model, params, batch), exact) < 1e-12
    assert distance(tb.gradient(tb.SnAp(1), model, params, batch), exact) < 1e-12


def test_a_chain_whose_parameters_reach_most_units_is_held_densely():
    model = Chain()
    params = model.init(jax.random.key(0))
    batch = tb.Batch(jnp.ones((5, 1, 1)), jnp.ones((5, 1, 4)))
    assert tb.RTRL().init(model, params, batch, None).influence.shape == (1, 4, 8)


def test_an_odd_number_of_units_is_refused_by_lru():
    with pytest.raises(tb.UserError, match="hidden: an even number"):
        tb.rnn("lru", 2, 5, 2)
