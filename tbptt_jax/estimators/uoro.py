"""Unbiased online recurrent optimization: the influence as one random outer product."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimate
from tbptt_jax.estimators.influence import Carry, InfluenceEstimator, scan_drawing
from tbptt_jax.forward import chunk_loss, loss_weights, or_one
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Batch, Model, Params, Repeating, sequence_shape
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class UORO(InfluenceEstimator):
    """Carry M ≈ s̃ θ̃ᵀ, unbiased by random signs: s̃ ← ρ0 J s̃ + ρ1 ν, θ̃ ← θ̃/ρ0 + νᵀF/ρ1, ν of ±1.

    ρ0 = √(‖θ̃‖/‖J s̃‖) and ρ1 = √(‖νᵀF‖/‖ν‖) balance the two factors; `epsilon` is added to each norm. A step takes one
    jvp and one vjp, and H + P numbers a sequence are carried. With `rank` r, the mean of r such products with signs of
    their own is carried. With a `memory` of several steps, credit is backpropagated without noise within blocks of so
    many steps, and the product is carried from block to block only; a chunk must be a whole number of blocks.
    """

    epsilon: Real = 1e-7
    rank: int = field(default=1, metadata={"static": True})
    memory: int = field(default=1, metadata={"static": True})
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"

    def __post_init__(self):
        self.require("epsilon", "a number above 0", lambda epsilon: epsilon > 0)
        self.require_whole("rank", 1)
        self.require_whole("memory", 1)

    def states_alive(self, length: int):
        return self.memory

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        if self.memory == 1:
            return super().__call__(model, params, carry, batch, key)
        length, batch_size = sequence_shape(batch)
        if length % self.memory:
            raise UserError(f"{self.name}: a chunk of whole blocks is needed, got {length} steps, memory={self.memory}")
        count = length // self.memory
        weights = loss_weights(batch)
        total = jnp.sum(weights)
        blocks = jax.tree.map(
            lambda leaf: leaf.reshape(count, self.memory, *leaf.shape[1:]), batch._replace(weights=weights)
        )

        def as_one_step(block: Batch) -> PyTree:
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), block.inputs)

        first = as_one_step(jax.tree.map(lambda leaf: leaf[0], blocks))
        dynamics = self.dynamics(Repeating(model), params, carry.state, first)

        def turn(carried: tuple, now: tuple) -> tuple[tuple, None]:
            (start, influence), loss, grads, flat_grads = carried
            block, noise = now

            def own_loss(params: Params, moving: list) -> tuple[Array, PyTree]:
                mean, after = chunk_loss(model, params, with_floats(start, moving), block)
                share = jnp.sum(block.weights) / or_one(total)
                return (mean * share).astype(dynamics.params.dtype), after

            of_both = jax.value_and_grad(own_loss, argnums=(0, 1), has_aux=True)
            (loss_now, after), (grads_now, e) = of_both(params, floats(start))
            through = jax.vmap(lambda influence, e: self.credit(dynamics, influence, dynamics.flat(e)))(influence, e)

            def advance(state: PyTree, x: PyTree, influence: PyTree, noise: Array) -> PyTree:
                return self.advance(dynamics, dynamics.at(state, x), influence, noise)

            influence = jax.vmap(advance)(start, as_one_step(block), influence, noise)
            sums = loss + loss_now, jax.tree.map(jnp.add, grads, grads_now), flat_grads + jnp.sum(through, 0)
            return (Carry(after, influence), *sums), None

        nothing = jnp.zeros((), dynamics.params.dtype), jax.tree.map(jnp.zeros_like, params), 0 * dynamics.params

        def draw(key: Array | None, blocks: int) -> Array:
            return self.noise(key, (blocks, batch_size), dynamics)

        carry, loss, grads, flat = scan_drawing(draw, key, turn, (carry, *nothing), blocks)
        return Estimate(loss, jax.tree.map(jnp.add, grads, dynamics.gradient(flat))), carry

    def start(self, dynamics: Dynamics):
        dtype = dynamics.params.dtype
        return jnp.zeros((self.rank, dynamics.hidden), dtype), jnp.zeros((self.rank, dynamics.weights), dtype)

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        shape = (*shape, self.rank, dynamics.hidden)
        return jax.random.rademacher(self.require_key(key), shape, dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        s, theta = influence
        return jax.vmap(partial(self.advance_one, step))(s, theta, noise)

    def advance_one(self, step: Any, s: Array, theta: Array, noise: Array) -> tuple[Array, Array]:
        """One product."""
        pushed, pulled = step.push(s), step.pull(noise)
        rho_0 = balance(theta, pushed, self.epsilon)
        rho_1 = balance(pulled, noise, self.epsilon)
        return rho_0 * pushed + rho_1 * noise, theta / rho_0 + pulled / rho_1

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        s, theta = influence
        return (s @ e) @ theta / self.rank


@dataclass(frozen=True)
class NoBackTrack(UORO):
    """UORO with a balance of its own for every unit: s̃ ← ρ0 J s̃ + ρ ⊙ ν, θ̃ ← θ̃/ρ0 + (ν/ρ)ᵀF, ρ_i = √‖F_i‖.

    It needs F row by row: H vjps a step.
    """

    name: ClassVar[str] = "nobacktrack"
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Ollivier, Tallec & Charpiat 2015, Training RNNs online without backtracking"

    def advance_one(self, step: Any, s: Array, theta: Array, noise: Array):
        pushed, direct = step.push(s), step.direct()
        rho_0 = balance(theta, pushed, self.epsilon)
        rho = jnp.sqrt(jnp.linalg.norm(direct, axis=1) + self.epsilon)
        return rho_0 * pushed + rho * noise, theta / rho_0 + (noise / rho) @ direct


def balance(a: Any, b: Any, epsilon: Real):
    """√(‖a‖/‖b‖)."""
    return jnp.sqrt((jnp.linalg.norm(a) + epsilon) / (jnp.linalg.norm(b) + epsilon))
