"""The derivative of a cut scan, as a linear map and its transpose, from states that are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from tbptt_jax.gradients.cuts.kinds import Gates, zeros_like
from tbptt_jax.gradients.cuts.linearize import Pullbacks, Pushes
from tbptt_jax.gradients.leaves import floats, is_float, with_floats

STRETCH = 32


class CutMap:
    """The derivative of a cut scan: a linear map from the tangents of consts, initial state and inputs to those of the
    final state and the outputs, and its transpose. Only what moves is asked for and given.

    `push` has u_t = F_t dw of all steps at once, and then the cut says how perturbations go on from state to state;
    `pull` has the cut carry credits back, and then Σ_t F_tᵀ δ_t of many steps at once.
    """

    def __init__(self, step: Callable, tangents: list[list]):
        self.step = step
        self.still = [[isinstance(t, SymbolicZero) for t in part] for part in tangents]
        self.moving = [[t for t in part if not isinstance(t, SymbolicZero)] for part in tangents]

    def flow(self, consts: list, state: PyTree, x: PyTree, h: list) -> tuple[list, list]:
        """One step as a function of the state's floating-point leaves."""
        new_state, y = self.step(consts, with_floats(state, h), x)
        return floats(new_state), floats(y)

    def all_steps(self, consts: list, states: PyTree, xs: PyTree) -> Callable:
        """All steps at once, each from its own state, as a function of the floats of consts and inputs."""

        def every_step(consts_floats, xs_floats):
            consts_now, xs_now = with_floats(consts, consts_floats), with_floats(xs, xs_floats)
            return jax.vmap(lambda state, x: self.flow(consts_now, state, x, floats(state)))(states, xs_now)

        return every_step

    def push(self, kept: tuple, moving: list[list]) -> tuple[list, list]:
        """Tangents of the final state and of the outputs `[T, ...]`."""
        consts, states, xs, cut = kept
        likes = floats(consts), [leaf[0] for leaf in floats(states)], floats(xs)
        consts_dot, init_dot, xs_dot = (filled(*parts) for parts in zip(self.still, likes, moving))
        every_step = self.all_steps(consts, states, xs)
        _, (direct, ys_dot) = jax.jvp(every_step, (floats(consts), floats(xs)), (consts_dot, xs_dot))
        return cut.perturbations(Pushes(self.flow, consts, states, xs), init_dot, direct, ys_dot)

    def pull(self, kept: tuple, cotangents: tuple[list, list]) -> list[list]:
        """Cotangents of what moves."""
        consts, states, xs, cut = kept
        final_bar, ys_bar = cotangents

        def stretch(credit_and_sum, part):
            """Credit and consts' cotangent, carried back over a stretch of steps; and the cotangents of its xs."""
            credit, consts_sum = credit_and_sum
            states, xs, cut, ys_bar = part
            credits, credit = cut.credits(Pullbacks(self.flow, consts, states, xs), credit, ys_bar)
            _, pullback = jax.vjp(self.all_steps(consts, states, xs), floats(consts), floats(xs))
            consts_bar, xs_bar = pullback((credits, ys_bar))
            return (credit, jax.tree.map(jnp.add, consts_sum, consts_bar)), xs_bar

        start = final_bar, [zeros_like(leaf) for leaf in floats(consts)]
        parts = (states, xs, cut, ys_bar)
        size = STRETCH if isinstance(cut, Gates) else None
        (init_bar, consts_bar), xs_bar = in_stretches(stretch, start, parts, size)
        bars = (consts_bar, init_bar, xs_bar)
        return [[bar for bar, still in zip(*both) if not still] for both in zip(bars, self.still)]


def tangents_of_floats(tree: PyTree, tangents: PyTree) -> list:
    """The tangents of the floating-point leaves of a tree."""
    return [t for leaf, t in zip(jax.tree.leaves(tree), jax.tree.leaves(tangents), strict=True) if is_float(leaf)]


def filled(still: list[bool], likes: list, moving: list) -> list:
    """Tangents of all leaves: zeros where nothing moves."""
    rest = iter(moving)
    return [zeros_like(like) if rests else next(rest) for rests, like in zip(still, likes)]


def tangent_of(tree: PyTree, moved: list) -> PyTree:
    """A tangent of the shape of a tree, from those of its floating-point leaves."""
    return with_floats(tree, moved, others=lambda leaf: np.zeros(jnp.shape(leaf), jax.dtypes.float0))


def in_stretches(function: Callable, carry: PyTree, stacked: Any, size: Any):
    """Carry something back through time, `size` steps at a stretch (None: all at once); what is left comes last."""
    length = jax.tree.leaves(stacked)[0].shape[0]
    if size is None or length <= size:
        return function(carry, stacked)
    count, left = divmod(length, size)
    whole = jax.tree.map(lambda leaf: leaf[left:].reshape(count, size, *leaf.shape[1:]), stacked)
    carry, outputs = lax.scan(function, carry, whole, reverse=True)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(count * size, *leaf.shape[2:]), outputs)
    if left:
        carry, first = function(carry, jax.tree.map(lambda leaf: leaf[:left], stacked))
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, outputs)
    return carry, outputs
