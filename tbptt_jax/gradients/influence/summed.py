"""Steps of a cell whose weights act through one sum, a_t = W â_t with â_t = (x_t, h_{t−1}, 1), unit by unit.

Unit i of the new state depends on unit i of the old one and on the G entries of a_t that belong to unit i; so J_t and
F_t are blocks of S × S, S × G numbers a unit (S leaves of the state) and the weights, which no `[H, H]` or `[H, P]`
matrix is needed for. Which models are of this kind they say themselves: `Model.summed_layer`.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tbptt_jax.cells import SummedLayer
from tbptt_jax.errors import UserError
from tbptt_jax.gradients.influence.branches import Undecided, seen_by
from tbptt_jax.gradients.influence.dynamics import DRAWS, Dynamics, Step


def declared_layer(dynamics: Dynamics) -> SummedLayer | None:
    """The layer that the model's step is, by the model's own word, which is checked."""
    cell = dynamics.model.summed_layer
    if cell is not None:
        require_unit_by_unit(cell, jax.tree.structure(dynamics.example[0]))
    return cell


@lru_cache(maxsize=64)
def require_unit_by_unit(cell: SummedLayer, structure: Any) -> None:
    """An error where derivatives of `activate`, at a random point, lead from one unit to another."""
    leaves = structure.num_leaves
    with jax.ensure_compile_time_eval():
        keys = jax.random.split(jax.random.key(0))
        old = jax.random.normal(keys[0], (leaves, cell.hidden))
        summed = jax.random.normal(keys[1], (cell.blocks, cell.hidden))

        def new(old: Array, summed: Array) -> tuple[Array, Array]:
            state = jax.tree.unflatten(structure, list(old))
            return jnp.stack(jax.tree.leaves(cell.activate(state, summed.ravel()))), cell.output(state)[None]

        slopes = jax.jit(jax.jacfwd(new, (0, 1)))(old, summed)  # [S, H, S, H] and [S, H, G, H]; [1, H, ...]
    for method, what, found in zip(("activate", "output"), ("new state", "output"), slopes):
        for name, slope in zip(("state", "sums"), map(np.asarray, found)):
            if np.any(np.moveaxis(slope, 2, 1)[..., ~np.eye(cell.hidden, dtype=bool)]):
                raise UserError(
                    f"{type(cell).__name__}.{method}: the {what} of a unit depends on the {name} of others, which a "
                    "SummedLayer's must not; subclass Layer instead, or set `summed = False`"
                )


class Units(NamedTuple):
    """One step, linearised unit by unit."""

    inputs: Float[Array, " I"]
    """â_t."""
    by_sum: Float[Array, "S G H"]
    """∂h_t/∂a_t."""
    by_own_state: Float[Array, "S S H"]
    """∂h_t/∂h_{t−1} of each unit by itself, through the sum too: the diagonal blocks of J_t."""
    by_memory: Float[Array, "S S H"]
    """The same with the sums held: what a unit keeps of itself."""


def one_unit(
    cell: SummedLayer, dynamics: Dynamics, old: Float[Array, " S"], summed: Float[Array, " G"]
) -> Float[Array, " S"]:
    """The new state of one unit from the old one and its sums: the cell with a single unit."""
    structure = jax.tree.structure(dynamics.example[0])
    state = jax.tree.unflatten(structure, list(old[:, None]))
    return jnp.concatenate(jax.tree.leaves(cell.activate(state, summed)))


def units(cell: SummedLayer, dynamics: Dynamics, step: Step) -> Units:
    """The step of a model whose `summed_layer` is the cell."""
    weights = weights_of(cell, dynamics, step.params)
    before, x = step.own_start(step.state)
    h = cell.output(before)
    x = x.astype(h.dtype)
    inputs = jnp.concatenate([x, h, *([jnp.ones_like(h[:1])] if cell.bias else [])])
    summed = cell.sums(weights, h, x)
    old = jax.tree.leaves(before)
    by_both = jax.vmap(jax.jacfwd(partial(one_unit, cell, dynamics), argnums=(0, 1)), in_axes=1, out_axes=2)
    direct, by_sum = by_both(jnp.stack(old), summed.reshape(cell.blocks, cell.hidden))
    own_weights = jnp.diagonal(weights["W_hh"].reshape(cell.blocks, cell.hidden, cell.hidden), axis1=1, axis2=2)
    seen = output_by_state(cell, dynamics, jnp.stack(old))
    by_start = direct + jnp.einsum("sgh,gh,rh->srh", by_sum, own_weights, seen)
    goes_on = step.goes_on().reshape(-1, cell.hidden)
    return Units(inputs, by_sum, by_start * goes_on, direct * goes_on)


def output_by_state(cell: SummedLayer, dynamics: Dynamics, old: Float[Array, "S H"]) -> Float[Array, "S H"]:
    """The derivative of what the sum sees of each unit by each of the unit's numbers."""

    def output(old: Array) -> Array:
        return cell.output(jax.tree.unflatten(jax.tree.structure(dynamics.example[0]), list(old)))

    ways = jnp.eye(len(old), dtype=old.dtype)[..., None] * jnp.ones_like(old[0])  # one number of all units at a time
    return jax.vmap(lambda way: jax.jvp(output, (old,), (way,))[1])(ways)


def sums_that_reach(cell: SummedLayer, dynamics: Dynamics) -> np.ndarray:
    """Which of its G sums each of the S numbers of a unit depends on, `[S, G]`, by derivatives at random points."""
    states = dynamics.hidden // cell.hidden

    def slopes(key: Array) -> Array:
        state_key, sum_key, key = jax.random.split(key, 3)
        old, summed = jax.random.normal(state_key, (states,)), jax.random.normal(sum_key, (cell.blocks,))
        return seen_by(partial(one_unit, cell, dynamics), 1, key, old, summed)

    with jax.ensure_compile_time_eval():
        try:
            keys = jax.random.split(jax.random.key(0), DRAWS)
            return np.any(np.asarray(jax.jit(lambda keys: jax.lax.map(slopes, keys))(keys)), axis=0)
        except Undecided:
            return np.ones((states, cell.blocks), bool)


def weights_of(cell: SummedLayer, dynamics: Dynamics, flat: Float[Array, " P"]) -> dict[str, Array]:
    """The layer's weights by name: they are all that a step depends on, in the order of their names."""
    names = sorted(["W_hh", "W_hx", *(["b_h"] if cell.bias else [])])
    return dict(zip(names, dynamics.restore_params(flat), strict=True))


def as_parameters(cell: SummedLayer, matrix: Float[Array, "GH I"]) -> Float[Array, " P"]:
    """A matrix that stands where W does, as the flattened weights."""
    w_hx, w_hh, b_h = jnp.split(matrix, np.cumsum([cell.inputs, cell.hidden]), axis=1)
    return ravel_pytree({"W_hx": w_hx, "W_hh": w_hh} | ({"b_h": b_h[:, 0]} if cell.bias else {}))[0]
