"""The derivative of a cut scan, as a linear map and its transpose, from states that are known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from tbptt_jax.gradients.cuts.cut import Stepwise, zeros_like
from tbptt_jax.gradients.cuts.linearize import Flow, Linearized, Pushes, RunAgain, filled
from tbptt_jax.jax_internals import transposes_side_by_side
from tbptt_jax.leaves import floats, is_float, with_floats

STRETCH = 32


class CutMap:
    """The derivative of a cut scan: a linear map from the tangents of consts, initial state and inputs to those of the
    final state and the outputs, and its transpose. Only what moves is asked for and given.

    `push` has u_t = F_t dw of all steps at once, and then the cut says how perturbations go on from state to state;
    `pull` has the cut carry credits back, and then Σ_t F_tᵀ δ_t of many steps at once.
    """

    def __init__(self, again: Callable, tangents: list[list]):
        consts_still, self.init_still, xs_still = [[isinstance(t, SymbolicZero) for t in part] for part in tangents]
        self.moving = [[t for t in part if not isinstance(t, SymbolicZero)] for part in tangents]
        self.flow = Flow(again, consts_still, xs_still)

    def linearized(self, step: Callable, consts: list, state: PyTree, x: PyTree) -> "Linearized | RunAgain":
        """A step as it runs forward, and puts out beside y what `pull` needs."""
        flow = self.flow._replace(step=step)
        program = jax.make_jaxpr(step)(consts, state, x)
        if transposes_side_by_side(program.jaxpr):
            return Linearized(flow, consts, state, x)
        return RunAgain(flow, self.flow.step)

    def pushes(self, consts: list, states: PyTree, xs: PyTree) -> Pushes:
        """The steps as they move perturbations of states, from states that are known."""
        own = self.flow.of_consts(consts)
        return Pushes(lambda state, x, h: self.flow(consts, state, x, own, h, self.flow.of_xs(x)), states, xs)

    def push(self, kept: tuple, moving: list[list]) -> tuple[list, list]:
        """Tangents of the final state and of the outputs `[T, ...]`."""
        consts, states, _, xs, cut = kept
        consts_dot, init_dot, xs_dot = moving
        flow = self.flow

        def every_step(own: list, x_floats: list) -> tuple[list, list]:
            return jax.vmap(lambda state, x, x_now: flow(consts, state, x, own, floats(state), x_now))(
                states, xs, x_floats
            )

        at = flow.of_consts(consts), flow.of_xs(xs)
        _, (direct, ys_dot) = jax.jvp(every_step, at, (consts_dot, xs_dot))
        init_dot = filled(self.init_still, [zeros_like(leaf[0]) for leaf in floats(states)], init_dot)
        return cut.perturbations(self.pushes(consts, states, xs), init_dot, direct, ys_dot)

    def pull(self, by: "Linearized | RunAgain", kept: tuple, cotangents: tuple[list, list]) -> list[list]:
        """Cotangents of what moves."""
        consts, states, memory, xs, cut = kept
        final_bar, ys_bar = cotangents

        def stretch(credit_and_sum, part):
            """Credit and consts' cotangent, carried back over a stretch of steps; and the cotangents of its xs."""
            credit, consts_sum = credit_and_sum
            *known, cut, ys_bar = part
            consts_bar, credit, xs_bar = cut.pull(by.pullbacks(consts, *known), credit, ys_bar)
            return (credit, jax.tree.map(jnp.add, consts_sum, consts_bar)), xs_bar

        start = final_bar, [zeros_like(leaf) for leaf in self.flow.of_consts(consts)]
        parts = (states, xs, memory, cut, ys_bar)
        size = STRETCH if isinstance(cut, Stepwise) else None
        (init_bar, consts_bar), xs_bar = in_stretches(stretch, start, parts, size)
        return [consts_bar, [bar for bar, still in zip(init_bar, self.init_still) if not still], xs_bar]


def tangents_of_floats(tree: PyTree, tangents: PyTree) -> list:
    """The tangents of the floating-point leaves of a tree."""
    return [t for leaf, t in zip(jax.tree.leaves(tree), jax.tree.leaves(tangents), strict=True) if is_float(leaf)]


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
