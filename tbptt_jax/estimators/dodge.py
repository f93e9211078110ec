"""Directional derivatives of a whole stream: a direction is kept, and how it has moved the state is carried along."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.base import Estimate, Estimator
from tbptt_jax.forward import chunk_loss
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Batch, Model, Params, sequence_shape


class Directed(NamedTuple):
    """The state, the directions (0 before the first chunk), and the derivatives of the state's floating leaves along
    each, `[N, B, ...]`."""

    state: PyTree
    directions: Float[Array, "N P"]
    moved: list


@dataclass(frozen=True)
class Dodge(Estimator):
    """(dL/dv) v, the mean over random directions v ~ N(0, I), each of which is drawn once for a stream.

    L is the loss of a chunk as a function of the parameters in all steps so far: how a direction has moved the state is
    carried from chunk to chunk. `forward_gradient` starts anew at every chunk."""

    directions: int = field(default=1, metadata={"static": True})
    name: ClassVar[str] = "dodge"
    carries_more: ClassVar[bool] = True  # type: ignore[misc]
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Silver et al. 2022, Learning by directional gradient descent"

    def __post_init__(self):
        self.require_whole("directions", 1)

    def states_alive(self, length: int):
        return 1  # it goes forward only

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        state, flat = model.initial_state(params, sequence_shape(batch)[1]), ravel_pytree(params)[0]
        still = [jnp.zeros((self.directions, *leaf.shape), leaf.dtype) for leaf in floats(state)]
        return Directed(state, jnp.zeros((self.directions, len(flat)), flat.dtype), still)

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        state, kept, moved = carry
        flat, restore = ravel_pytree(params)
        drawn = jax.random.normal(self.require_key(key), kept.shape, kept.dtype)
        directions = jnp.where(jnp.all(kept == 0), drawn, kept)

        def loss(flat, leaves):
            value, after = chunk_loss(model, restore(flat), with_floats(state, leaves), batch)
            return (value, floats(after)), after

        def along(direction, moved):
            at, tangents = (flat, floats(state)), (direction, moved)
            (value, _), (slope, moved), after = jax.jvp(loss, at, tangents, has_aux=True)
            return value, after, slope, moved

        value, state, slopes, moved = jax.vmap(along, out_axes=(None, None, 0, 0))(directions, moved)
        mean = (slopes @ directions / self.directions).astype(flat.dtype)
        return Estimate(value, restore(mean)), Directed(state, directions, moved)
