"""Forward gradients: derivatives along random directions, by one forward pass each."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.base import Estimate, Estimator
from tbptt_jax.forward import chunk_loss
from tbptt_jax.models import Batch, Model, Params


@dataclass(frozen=True)
class ForwardGradient(Estimator):
    """(∇L · v) v, the mean over random directions v ~ N(0, I): one jvp of the chunk a direction, nothing is stored."""

    directions: int = field(default=1, metadata={"static": True})
    name: ClassVar[str] = "forward_gradient"
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "Silver et al. 2022, Learning by directional gradient descent"

    def __post_init__(self):
        self.require_whole("directions", 1)

    def states_alive(self, length: int):
        return 1  # it goes forward only

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        flat, restore = ravel_pytree(params)
        directions = jax.random.normal(self.require_key(key), (self.directions, len(flat)), flat.dtype)

        def loss(flat):
            return chunk_loss(model, restore(flat), carry, batch)

        def along(direction):
            return jax.jvp(loss, (flat,), (direction,), has_aux=True)

        value, slopes, state = jax.vmap(along, out_axes=(None, 0, None))(directions)
        return Estimate(value, restore((slopes @ directions / self.directions).astype(flat.dtype))), state
