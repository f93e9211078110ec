"""Estimators that go forward in time: they carry M_t ≈ ∂h_t/∂w along with the state, and need no backward pass.

The gradient of a chunk is Σ_t e_t M_t and the readout's part, e_t = ∂L/∂h_t through o_t alone. What is carried crosses
from chunk to chunk of a stream with the state, so that a loss reaches back over all of it.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.base import Estimate, Estimator
from tbptt_jax.forward import loss_weights, or_one
from tbptt_jax.gradients.influence.dynamics import Dynamics, Step
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Batch, Model, Params, sequence_shape

STRETCH = 64
"""For how many steps is drawn at once."""


class Carry(NamedTuple):
    """The state, and each sequence's influence `[B, ...]`."""

    state: PyTree
    influence: PyTree


class InfluenceEstimator(Estimator):
    """A subclass says how one sequence's influence starts, how a step advances it, and what credit makes of it."""

    carries_more: ClassVar[bool] = True  # type: ignore[misc]

    @abstractmethod
    def start(self, dynamics: Dynamics) -> PyTree:
        """The influence on the first state, which is data."""

    @abstractmethod
    def advance(self, dynamics: Dynamics, step: Step, influence: PyTree, noise: Any) -> PyTree:
        """The influence on the state after a step."""

    @abstractmethod
    def credit(self, dynamics: Dynamics, influence: PyTree, e: Float[Array, " H"]) -> Float[Array, " P"]:
        """e M."""

    def noise(self, key: Array | None, shape: tuple[int, int], dynamics: Dynamics) -> Any:
        """What is drawn for so many steps, `[T, B, ...]`; None where nothing is."""
        return None

    def dynamics(self, model: Model, params: Params, state: PyTree, x: PyTree) -> Dynamics:
        """The steps of one sequence, from a state and an input of a batch."""
        first = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), (state, x))
        return Dynamics(model, params, *jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), first))

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        _, batch_size = sequence_shape(batch)
        state = model.initial_state(params, batch_size)
        x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), batch.inputs)
        influence = self.start(self.dynamics(model, params, state, x))
        return Carry(state, jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch_size, *leaf.shape)), influence))

    def states_alive(self, length: int):
        return 1  # it goes forward only

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        _, batch_size = sequence_shape(batch)
        dynamics = self.dynamics(model, params, carry.state, jax.tree.map(lambda leaf: leaf[0], batch.inputs))
        weights = loss_weights(batch)
        weights = (weights / or_one(jnp.sum(weights))).astype(dynamics.params.dtype)

        def step(carried, now):
            (state, influence), loss, readout_grads, flat_grads = carried
            (x, target, weight), noise = now
            after = model.step(params, state, x)

            def advance(state, x, influence, noise):
                return self.advance(dynamics, dynamics.at(state, x), influence, noise)

            influence = jax.vmap(advance)(state, x, influence, noise)

            def own_loss(params, moving):
                losses = model.losses(model.readout(params, with_floats(after, moving)), target)
                return jnp.sum(weight * losses).astype(weight.dtype)

            loss_now, (readout, e) = jax.value_and_grad(own_loss, argnums=(0, 1))(params, floats(after))
            through = jax.vmap(lambda influence, e: self.credit(dynamics, influence, dynamics.flat(e)))(influence, e)
            sums = (loss + loss_now, jax.tree.map(jnp.add, readout_grads, readout), flat_grads + jnp.sum(through, 0))
            return (Carry(after, influence), *sums), None

        nothing = jnp.zeros((), dynamics.params.dtype), jax.tree.map(jnp.zeros_like, params), 0 * dynamics.params
        of_steps = batch.inputs, batch.targets, weights

        def draw(key, length):
            return self.noise(key, (length, batch_size), dynamics)

        carry, loss, readout, flat = scan_drawing(draw, key, step, (carry, *nothing), of_steps)
        return Estimate(loss, jax.tree.map(jnp.add, readout, dynamics.gradient(flat))), carry


def scan_drawing(draw: Callable, key: Array | None, step: Callable, carry: PyTree, xs: PyTree) -> PyTree:
    """What `lax.scan` carries out of steps that read (x, what is drawn for it). `draw(key, length)` is called for a
    stretch of steps at a time: for single ones it would take long, and for all of them memory that grows with them."""
    length = jax.tree.leaves(xs)[0].shape[0]
    if key is None or length <= STRETCH or jax.eval_shape(lambda: draw(key, 1)) is None:
        return lax.scan(step, carry, (xs, draw(key, length)))[0]
    count, left = divmod(length, STRETCH)

    def stretch(carry: PyTree, now: tuple) -> tuple[PyTree, None]:
        number, xs = now
        return lax.scan(step, carry, (xs, draw(jax.random.fold_in(key, number), STRETCH)))[0], None

    whole = jax.tree.map(lambda leaf: leaf[: length - left].reshape(count, STRETCH, *leaf.shape[1:]), xs)
    carry, _ = lax.scan(stretch, carry, (jnp.arange(count), whole))
    rest = jax.tree.map(lambda leaf: leaf[length - left :], xs)
    return lax.scan(step, carry, (rest, draw(jax.random.fold_in(key, count), left)))[0] if left else carry
