"""The influence of the parameters on the state, carried forward in time: M_t = ∂h_t/∂w = F_t + J_t M_{t−1}.

The state is flattened to H numbers a sequence, and the parameters that a step depends on to P numbers.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.gradients.influence.branches import Undecided, seen_by
from tbptt_jax.jax_internals import depends_on
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Model, Params

DRAWS = 32  # points at which the structure of a step is looked at


class Step:
    """One step of one sequence, linearised: what J_t and F_t do to vectors, and the two as matrices.

    `flow(params, state)` is the step, flattened; `own_start(state)` are the state and the input, with their shapes,
    that a user's model makes the step from.
    """

    def __init__(self, flow: Callable, params: Array, state: Array, own_start: Callable):
        self.flow, self.params, self.state, self.own_start = flow, params, state, own_start

    def goes_on(self) -> Float[Array, " H"]:
        """How much of each number of the state the step starts from: 0 where an episode begins, else 1."""

        def started(state: Array) -> Array:
            return ravel_pytree(floats(self.own_start(state)[0]))[0]

        return jax.jvp(started, (self.state,), (jnp.ones_like(self.state),))[1]

    def push(self, v: Float[Array, " H"]) -> Float[Array, " H"]:
        """J v."""
        return jax.jvp(partial(self.flow, self.params), (self.state,), (v,))[1]

    def pull(self, u: Float[Array, " H"]) -> Float[Array, " P"]:
        """uᵀ F."""
        return jax.vjp(lambda params: self.flow(params, self.state), self.params)[1](u)[0]

    def jacobian(self) -> Float[Array, "H H"]:
        return jax.jacrev(self.flow, 1)(self.params, self.state)

    def direct(self) -> Float[Array, "H P"]:
        return jax.jacrev(self.flow, 0)(self.params, self.state)


class Dynamics:
    """The steps of a model with its parameters and state flattened, and their derivatives J_t and F_t.

    States and inputs of one sequence are those of a batch without its batch axis; with `together` they are those of a
    batch, which is taken as one long state.
    """

    def __init__(self, model: Model, params: Params, state: PyTree, x: PyTree, *, together: bool = False):
        self.model, self.all_params, self.together = model, params, together
        self.example = jax.eval_shape(lambda tree: tree, (state, x))
        self.moving = self.moving_leaves(state, x)
        chosen = [leaf for leaf, moves in zip(jax.tree.leaves(params), self.moving) if moves]
        self.params, self.restore_params = ravel_pytree(chosen)
        self.hidden, self.weights = len(self.flat(state)), len(self.params)

    def batched(self, tree: PyTree) -> PyTree:
        """A state or an input as a model takes it: one sequence as a batch of one."""
        return tree if self.together else jax.tree.map(lambda leaf: leaf[None], tree)

    def moving_leaves(self, state: PyTree, x: PyTree) -> list[bool]:
        """For each leaf of the parameters, whether a step depends on it."""

        def step(params):
            return floats(self.model.step(params, self.batched(state), self.batched(x)))

        program = jax.make_jaxpr(step)(self.all_params).jaxpr
        return [any(depends_on(program, [leaf])) for leaf in program.invars]

    def flat(self, state: PyTree) -> Float[Array, " H"]:
        return ravel_pytree(floats(state))[0]

    @cached_property
    def patterns(self) -> tuple[np.ndarray, np.ndarray]:
        """Which entries of J `[H, H]` and F `[H, P]` are not zero by the structure of a step, whatever the numbers.

        Inputs that are no floats cannot be drawn: a model that looks up a table by them counts as dense, and so does
        one with a loop in its step that chooses within.
        """
        if all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(self.example)):
            with suppress(Undecided):
                return patterns(self.model, self.all_params, *self.example)
        return np.ones((self.hidden, self.hidden), bool), np.ones((self.hidden, self.weights), bool)

    def at(self, state: PyTree, x: PyTree) -> Step:
        """The step of one sequence from a state."""
        restore_state = ravel_pytree(floats(state))[1]

        def restored(moving):
            return with_floats(state, restore_state(moving))

        def own_start(moving):
            start = self.model.own_start(self.all_params, self.batched(restored(moving)), self.batched(x))
            return start if self.together else jax.tree.map(lambda leaf: leaf[0], start)

        def flow(params, moving):
            now = restored(moving)
            after = self.model.step(self.with_params(params), self.batched(now), self.batched(x))
            return ravel_pytree(floats(after))[0]

        return Step(flow, self.params, self.flat(state), own_start)

    def with_params(self, flat: Float[Array, " P"]) -> Params:
        chosen = iter(self.restore_params(flat))
        leaves, structure = jax.tree.flatten(self.all_params)
        return jax.tree.unflatten(
            structure, [next(chosen) if moves else leaf for leaf, moves in zip(leaves, self.moving)]
        )

    def gradient(self, flat: Float[Array, " P"]) -> PyTree:
        """A gradient by the flattened parameters, shaped as the parameters; 0 for those that no step depends on."""
        chosen = iter(self.restore_params(flat))
        leaves, structure = jax.tree.flatten(self.all_params)
        return jax.tree.unflatten(
            structure, [next(chosen) if moves else jnp.zeros_like(leaf) for leaf, moves in zip(leaves, self.moving)]
        )


def patterns(model: Model, params: Params, state: PyTree, x: PyTree) -> tuple[np.ndarray, np.ndarray]:
    """As `Dynamics.patterns`, from the matrices at random points, while the program is traced: of the step, and of one
    that takes all of its branches, or any."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda tree: tree, (params, state, x)))
    return patterns_of_shapes(model, structure, tuple(leaves))


@lru_cache(maxsize=64)
def patterns_of_shapes(model: Model, structure: Any, leaves: tuple) -> tuple[np.ndarray, np.ndarray]:
    shapes = jax.tree.unflatten(structure, leaves)

    def drawn(key, tree):
        """Random numbers, small so that nothing saturates."""
        leaves, structure = jax.tree.flatten(tree)
        keys = jax.random.split(key, len(leaves) + 1)
        return jax.tree.unflatten(
            structure,
            [(0.3 * jax.random.normal(k, leaf.shape)).astype(leaf.dtype) for k, leaf in zip(keys, leaves)],
        )

    with jax.ensure_compile_time_eval():

        def matrices(key):
            params, state, x = drawn(key, shapes)
            step = Dynamics(model, params, state, x).at(state, x)
            return seen_by(step.flow, (1, 0), key, step.params, step.state)

        seen = jax.jit(lambda keys: jax.lax.map(matrices, keys))(jax.random.split(jax.random.key(0), DRAWS))
    jacobian, direct = (np.logical_or.reduce(np.asarray(part)) for part in seen)
    for pattern in (jacobian, direct):
        pattern.flags.writeable = False
    return jacobian, direct
