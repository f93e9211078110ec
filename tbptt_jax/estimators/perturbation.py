"""Estimators that perturb the parameters and look at the loss: they need no derivative of the model.

N particles, each an antithetic pair w ± ε; their estimates are of the gradient of the smoothed loss E L(w + ε),
ε ~ N(0, σ²I), which is the loss's own as σ goes to 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from tbptt_jax.devices import over_devices
from tbptt_jax.estimators.base import Estimate, Estimator
from tbptt_jax.forward import chunk_loss
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.pytree import Real


class Particles(NamedTuple):
    """What a stream of perturbed chunks carries: the unperturbed state, the states of each particle's two halves
    `[N, B, ...]`, a vector in the space of the parameters and the noise of now for each, and the number of chunks by
    which each one's starts and draws are counted, from its place on."""

    state: PyTree
    plus: PyTree
    minus: PyTree
    vectors: Float[Array, "N P"]
    noise: Float[Array, "N P"]
    age: Int[Array, " N"]


class Perturbation(Estimator):
    """What the perturbing estimators share; fields `sigma` and `particles`."""

    sigma: Real
    particles: int

    def __post_init__(self):
        self.require("sigma", "a number above 0", lambda sigma: sigma > 0)
        self.require_whole("particles", 1)

    @property
    def runs(self) -> int:  # type: ignore[override]
        return 2 * self.particles

    def draw(self, key: Array | None, params: Params) -> Float[Array, "N P"]:
        """ε of every particle."""
        flat = ravel_pytree(params)[0]
        return self.sigma * jax.random.normal(self.require_key(key), (self.particles, len(flat)), flat.dtype)

    def differences(
        self, model: Model, params: Params, plus: PyTree, minus: PyTree, batch: Batch, noise: Any
    ) -> tuple[Array, PyTree, PyTree]:
        """L(w + ε) − L(w − ε) of every particle, from its two states, and the states after the chunk."""
        flat, restore = ravel_pytree(params)

        def pair(shared, particle):
            flat, batch = shared
            plus, minus, epsilon = particle
            loss_plus, plus = chunk_loss(model, restore(flat + epsilon), plus, batch)
            loss_minus, minus = chunk_loss(model, restore(flat - epsilon), minus, batch)
            return loss_plus - loss_minus, plus, minus

        def pairs(shared, particles):
            return jax.vmap(pair, (None, 0))(shared, particles)

        return over_devices(pairs, (flat, batch), (plus, minus, noise))

    def gradient(self, params: Params, vectors: Float[Array, "N P"], differences: Float[Array, " N"]) -> PyTree:
        """(2 σ² N)⁻¹ Σ_i vector_i · difference_i."""
        flat = differences.astype(vectors.dtype) @ vectors / (2 * self.sigma**2 * self.particles)
        return ravel_pytree(params)[1](flat)

    def copies(self, state: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.particles, *leaf.shape)), state)


def unperturbed(model: Model, params: Params, state: PyTree, batch: Batch, grads: PyTree) -> tuple[Estimate, PyTree]:
    """The estimate, with the loss at the parameters themselves, and the state after the chunk."""
    loss, state = chunk_loss(model, params, state, batch)
    return Estimate(loss, grads), state
