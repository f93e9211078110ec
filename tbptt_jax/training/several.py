"""An optimizer that moves after several gradients, by their mean."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree


class Gathered(NamedTuple):
    """How many gradients have been gathered, their mean in their own precision, and the optimizer's state."""

    gathered: Array
    mean: PyTree
    optimizer: PyTree


def after_several(optimizer: optax.GradientTransformation, number: int) -> optax.GradientTransformation:
    """The optimizer, which sees the mean of `number` gradients after the last of them; until then nothing moves."""

    def init(params: PyTree) -> Gathered:
        return Gathered(jnp.zeros((), int), jax.tree.map(jnp.zeros_like, params), optimizer.init(params))

    def update(grads: PyTree, state: Gathered, params: Any = None) -> tuple[PyTree, Gathered]:
        mean = jax.tree.map(lambda mean, new: mean + (new - mean) / (state.gathered + 1), state.mean, grads)
        moves = state.gathered + 1 == number
        changes, after = optimizer.update(mean, state.optimizer, params)

        def chosen(moved: Any, still: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(moves, a, b).astype(a.dtype), moved, still)

        nothing = jax.tree.map(jnp.zeros_like, grads)
        gathered = jnp.where(moves, 0, state.gathered + 1)
        return chosen(changes, nothing), Gathered(gathered, chosen(nothing, mean), chosen(after, state.optimizer))

    return optax.GradientTransformation(init, update)
