"""A cut scan that keeps few states, and makes the others again on the way back, as `schedule` says.

Forward it is `lax.scan` that puts a state into a slot now and then. On the way back one loop goes through the moves of
the schedule: load a state, run a block forward, or make a block's states and carry the credit back through it. The
values and the derivative are those of `engine`, to the rounding of sums.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.cut import Stepwise, zeros_like
from tbptt_jax.gradients.cuts.linear_map import CutMap
from tbptt_jax.gradients.cuts.linearize import filled
from tbptt_jax.gradients.cuts.schedule import Schedule
from tbptt_jax.leaves import floats


def scan_in_blocks(step: Callable, init: PyTree, xs: PyTree, plan: Schedule) -> tuple[PyTree, PyTree, PyTree]:
    """The forward pass: the last state, the outputs, and the states in the slots."""
    start, ys = lax.scan(step, init, window(xs, 0, plan.head), plan.head)
    slots = jax.tree.map(lambda leaf: zeros_like(leaf, (plan.slots,)), start)

    def block(state_and_slots, now):
        state, slots = state_and_slots
        number, slot = now
        slots = lax.cond(slot >= 0, lambda: put(slots, slot, state), lambda: slots)
        state, ys = lax.scan(step, state, window(xs, plan.place(number), plan.size), plan.size)
        return (state, slots), ys

    numbered = jnp.arange(plan.blocks), jnp.asarray(plan.first)
    (final, slots), more = lax.scan(block, (start, slots), numbered)
    ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b.reshape(-1, *b.shape[2:])]), ys, more)
    return final, ys, slots


class RecomputingMap(CutMap):
    """The same linear map from the states in the slots."""

    def __init__(self, again: Callable, tangents: list[list], plan: Schedule):
        super().__init__(again, tangents)
        self.plan = plan

    def push(self, kept: tuple, moving: list[list]) -> tuple[list, list]:
        """Forwards nothing is kept: states and perturbations go on side by side."""
        consts, (_, init), xs, cut = kept
        consts_dot, init_dot, xs_dot = moving
        init_dot = filled(self.init_still, [zeros_like(leaf) for leaf in floats(init)], init_dot)
        flow: Any = self.flow

        def forth(state_and_moved: tuple, row: tuple) -> tuple[tuple, list]:
            state, moved = state_and_moved
            x, x_dot, cut = row
            at = flow.of_consts(consts), floats(state), flow.of_xs(x)
            moved, seen = cut.push(partial(flow, consts, state, x), at, (consts_dot, moved, x_dot))
            return (flow.step(consts, state, x)[0], moved), seen

        (_, final), ys = lax.scan(forth, (init, cut.starting(init_dot)), (xs, xs_dot, cut))
        return cut.ending(final), ys

    def pull(self, kept: tuple, cotangents: tuple[list, list]) -> list[list]:  # type: ignore[override]
        """Cotangents of what moves, by the moves of the schedule."""
        consts, (slots, init), xs, cut = kept
        final_bar, ys_bar = cotangents
        rows = xs, cut, ys_bar

        step, flow = self.flow.step, self.flow
        by = self.linearized(step, consts, init, jax.tree.map(lambda leaf: leaf[0], xs))

        def forward(state: PyTree, x: PyTree) -> tuple[PyTree, None]:
            return step(consts, state, x)[0], None

        def remember(state: PyTree, x: PyTree) -> tuple[PyTree, tuple[PyTree, list]]:
            new_state, (_, memory) = by.step(consts, state, x)
            return new_state, (state, memory)

        def back(state: PyTree, credit: list, row: tuple) -> tuple[list, list, list]:
            """Through some steps, from the state before the first: the credit on it, and what moves of consts and xs
            receives."""
            xs, cut, ys_bar = row
            _, (states, memory) = lax.scan(remember, state, xs)
            consts_bar, credit, xs_bar = cut.pull(by.pullbacks(consts, states, xs, memory), credit, ys_bar)
            return credit, consts_bar, xs_bar

        def move(carry, now):
            load, block, is_back, store = now
            state, slots, credit, consts_bar, xs_bar = carry
            state = lax.cond(load >= 0, lambda: take(slots, load), lambda: state)
            place = plan.place(block)

            def go_back():
                before, more, bar = back(state, credit, window(rows, place, plan.size))
                there = [lax.dynamic_update_slice_in_dim(leaf, one, place, 0) for leaf, one in zip(xs_bar, bar)]
                return state, before, jax.tree.map(jnp.add, consts_bar, more), there

            def go_on():
                return lax.scan(forward, state, window(xs, place, plan.size))[0], credit, consts_bar, xs_bar

            state, credit, consts_bar, xs_bar = lax.cond(is_back > 0, go_back, go_on)
            slots = lax.cond(store >= 0, lambda: put(slots, store, state), lambda: slots)
            return (state, slots, credit, consts_bar, xs_bar), None

        plan = self.plan
        consts_bar = [zeros_like(leaf) for leaf in flow.of_consts(consts)]
        xs_bar = [zeros_like(leaf) for leaf in flow.of_xs(xs)]
        carry = (take(slots, 0), slots, cut.entering(final_bar), consts_bar, xs_bar)
        (_, _, credit, consts_bar, xs_bar), _ = lax.scan(move, carry, jnp.asarray(plan.moves))
        if plan.head:
            credit, more, bar = back(init, credit, window(rows, 0, plan.head))
            consts_bar = jax.tree.map(jnp.add, consts_bar, more)
            xs_bar = [lax.dynamic_update_slice_in_dim(leaf, one, 0, 0) for leaf, one in zip(xs_bar, bar)]
        init_bar = cut.leaving(credit)
        return [consts_bar, [bar for bar, still in zip(init_bar, self.init_still) if not still], xs_bar]


def window(tree: PyTree, start: Any, size: int) -> PyTree:
    """Some steps of leaves `[T, ...]`."""
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size), tree)


def put(slots: PyTree, place: Array, value: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, one: lax.dynamic_update_index_in_dim(leaf, one, place, 0), slots, value)


def take(slots: PyTree, place: Any) -> PyTree:
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, place, keepdims=False), slots)


def keep_to_cut(cut: Stepwise, tree: PyTree) -> PyTree:
    """The tree that the forward pass reads. Where something is cut, the states that it makes have no derivative that
    would be cut in the same places, and taking a second derivative is an error."""
    return tree if cut.is_exact else differentiated_once(tree)


@jax.custom_jvp
def differentiated_once(tree: PyTree) -> PyTree:
    """The tree, of which no second derivative is to be taken."""
    return tree


@differentiated_once.defjvp
def _refuse(primals: tuple, tangents: tuple) -> Any:
    raise UserError("states: a cut scan that keeps few states has no second derivative; leave `states` out")
