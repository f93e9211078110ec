"""Steps of a cell whose weights act through one sum, a_t = W â_t with â_t = (x_t, h_{t−1}, 1), unit by unit.

Unit i of the new state depends on unit i of the old one and on the G entries of a_t that belong to unit i; so J_t and
F_t are blocks of S × S, S × G numbers a unit (S leaves of the state) and the weights, which no `[H, H]` or `[H, P]`
matrix is needed for.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tbptt_jax.cells import LSTM, Linear, SummedLayer, Tanh
from tbptt_jax.gradients.influence import DRAWS, Dynamics, Step
from tbptt_jax.model import RNN


class Units(NamedTuple):
    """One step, linearised unit by unit."""

    inputs: Float[Array, "I"]
    """â_t."""
    by_sum: Float[Array, "S G H"]
    """∂h_t/∂a_t."""
    by_own_state: Float[Array, "S S H"]
    """∂h_t/∂h_{t−1} of each unit by itself, through the sum too: the diagonal blocks of J_t."""


def summed_cell(dynamics: Dynamics) -> SummedLayer | None:
    """The cell of the dynamics, if it is one of the built-in layers of which all that holds; a subclass may do more."""
    model = dynamics.model
    plain = type(model) is RNN and type(model.cell) in (Linear, Tanh, LSTM)
    return model.cell if plain else None  # type: ignore[attr-defined]


def one_unit(dynamics: Dynamics, old: Float[Array, "S"], summed: Float[Array, "G"]) -> Float[Array, "S"]:
    """The new state of one unit from the old one and its sums: the cell with a single unit."""
    structure = jax.tree.structure(dynamics.example[0])
    state = jax.tree.unflatten(structure, list(old[:, None]))
    return jnp.concatenate(jax.tree.leaves(summed_cell(dynamics).activate(state, summed)))  # type: ignore[union-attr]


def units(dynamics: Dynamics, step: Step) -> Units:
    cell = dynamics.model.cell  # type: ignore[attr-defined]
    weights = dynamics.with_params(step.params)["cell"]  # type: ignore[index]
    h = cell.output(step.before)
    inputs = jnp.concatenate([step.x, h, *([jnp.ones_like(h[:1])] if cell.bias else [])])
    summed = step.x @ weights["W_hx"].T + h @ weights["W_hh"].T + (weights["b_h"] if cell.bias else 0)
    old = jax.tree.leaves(step.before)
    by_both = jax.vmap(jax.jacfwd(partial(one_unit, dynamics), argnums=(0, 1)), in_axes=1, out_axes=2)
    direct, by_sum = by_both(jnp.stack(old), summed.reshape(cell.blocks, cell.hidden))
    own_weights = jnp.diagonal(weights["W_hh"].reshape(cell.blocks, cell.hidden, cell.hidden), axis1=1, axis2=2)
    seen = jnp.asarray([leaf is h for leaf in old], by_sum.dtype)  # which part of the state the sum sees
    return Units(inputs, by_sum, direct + jnp.einsum("sgh,gh,r->srh", by_sum, own_weights, seen))


def sums_that_reach(dynamics: Dynamics) -> np.ndarray:
    """Which of its G sums each of the S numbers of a unit depends on, `[S, G]`, by derivatives at random points."""
    cell = dynamics.model.cell  # type: ignore[attr-defined]
    with jax.ensure_compile_time_eval():
        keys = jax.random.split(jax.random.key(0))
        old = jax.random.normal(keys[0], (DRAWS, dynamics.hidden // cell.hidden))
        summed = jax.random.normal(keys[1], (DRAWS, cell.blocks))
        slopes = jax.jit(jax.vmap(jax.jacfwd(partial(one_unit, dynamics), argnums=1)))(old, summed)
    return np.any(np.asarray(slopes) != 0, axis=0)


def as_parameters(cell: SummedLayer, matrix: Float[Array, "GH I"]) -> Float[Array, "P"]:
    """A matrix that stands where W does, as the flattened weights."""
    w_hx, w_hh, b_h = jnp.split(matrix, np.cumsum([cell.inputs, cell.hidden]), axis=1)
    return ravel_pytree({"W_hx": w_hx, "W_hh": w_hh} | ({"b_h": b_h[:, 0]} if cell.bias else {}))[0]
