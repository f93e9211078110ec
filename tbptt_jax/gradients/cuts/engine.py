"""The engine behind `scan`: a scan whose derivative is a cut linear map.

Forward it is `lax.scan`, and only the states h_0..h_{T-1} are kept. Backward, a cut (see `kinds`) says how credit flows
from state to state; a vectorised pullback over many steps at once then gives what the parameters and inputs receive,
Σ_t F_tᵀ δ_t: no parameter-sized sum is carried from step to step. Where credit goes step by step, this alternates in
stretches of `STRETCH` steps, short enough for the credits to stay in a processor's cache. Forward-mode derivatives are
the transpose of this: a cut says how far a perturbation goes. Nothing in the forward pass depends on the cut, so `vmap`
over keys or gates runs it once. Where only so many states may be kept, `recompute` makes the others again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import lax
from jaxtyping import PyTree

from tbptt_jax.gradients.cuts.cut import KeepsAll
from tbptt_jax.gradients.cuts.kinds import Cut
from tbptt_jax.gradients.cuts.linear_map import CutMap, tangent_of, tangents_of_floats
from tbptt_jax.gradients.cuts.recompute import RecomputingMap, keep_to_cut, scan_in_blocks
from tbptt_jax.gradients.cuts.schedule import schedule
from tbptt_jax.gradients.cuts.transposed import linear
from tbptt_jax.jax_internals import ClosedJaxpr, jaxpr_as_fun, parted, without_prints


def cut_scan(f: Callable, init: PyTree, xs: PyTree, cut: Cut, length: int | None = None, unroll: int = 1):
    """The scan itself, for arguments that are known to fit: what the estimators call."""
    x = jax.eval_shape(partial(jax.tree.map, lambda leaf: leaf[0]), xs)
    program, shapes = jax.make_jaxpr(f, return_shape=True)(init, x)
    structure = jax.tree.structure(shapes)

    def step(jaxpr, consts, state, x):
        outputs = jaxpr_as_fun(ClosedJaxpr(jaxpr, consts))(*jax.tree.leaves((state, x)))
        return jax.tree.unflatten(structure, outputs)

    steps = Steps(partial(step, program.jaxpr), partial(step, without_prints(program.jaxpr)))
    return run(steps, length, unroll, list(program.consts), init, xs, cut)


class Steps(NamedTuple):
    """A step `(consts, state, x) → (new state, y)` that closes over nothing: as it runs forward, and as it runs again
    for derivatives, without what it prints."""

    forward: Callable
    again: Callable


def run(
    steps: Steps, length: int | None, unroll: Any, consts: list, init: PyTree, xs: PyTree, cut: Cut
) -> tuple[PyTree, PyTree]:
    """The scan with a derivative of its own."""
    total = length if length is not None else jax.tree.leaves(xs)[0].shape[0]
    few: int | None = cut.states
    if few is not None and few >= total and isinstance(cut, KeepsAll):
        few = None
    plan = None if few is None else schedule(total, min(few, total))

    @jax.custom_jvp
    def cut_scan(consts, init, xs, cut):
        return scan_holding(steps.forward, consts, init, xs, length, unroll)

    @partial(cut_scan.defjvp, symbolic_zeros=True)
    def derivative(primals, tangents):
        consts, init, xs, cut = primals
        if plan is not None:
            consts, init, xs = keep_to_cut(cut, (consts, init, xs))
            final, ys, slots = scan_in_blocks(partial(steps.forward, consts), init, xs, plan)
            moving = [tangents_of_floats(*part) for part in zip(primals[:3], tangents[:3])]
            few = RecomputingMap(steps.again, moving, plan)
            moved = linear(few.push, few.pull, (consts, (slots, init), xs, cut), few.moving)
            return (final, ys), tuple(map(tangent_of, (final, ys), moved))
        linear_map = CutMap(steps.again, [tangents_of_floats(*part) for part in zip(primals[:3], tangents[:3])])
        by = linear_map.linearized(steps.forward, consts, init, jax.tree.map(lambda leaf: leaf[0], xs))

        def remember(quiet: bool, consts: list, state: PyTree, x: PyTree) -> Any:
            new_state, (y, memory) = by.step(consts, state, x, quiet)
            return new_state, (y, memory, state)

        # through `run` again, so that a derivative of the derivative is cut in the same places
        remembering = Steps(partial(remember, False), partial(remember, True))
        final, (ys, memory, states) = run(remembering, length, unroll, consts, init, xs, cut)
        pull = partial(linear_map.pull, by)
        moved = linear(linear_map.push, pull, (consts, states, memory, xs, cut), linear_map.moving)
        return (final, ys), tuple(map(tangent_of, (final, ys), moved))

    return cut_scan(consts, init, xs, cut)


def scan_holding(
    step: Callable, consts: list, init: PyTree, xs: PyTree, length: int | None, unroll: Any
) -> tuple[PyTree, PyTree]:
    """`lax.scan`, where all that the step computes from consts alone is made before the loop and held there. A
    transposed matrix, for example, is held as a copy in the order in which the loop reads it, which the compiler would
    otherwise undo."""
    x = jax.tree.map(lambda leaf: leaf[0], xs)
    program, shapes = jax.make_jaxpr(step, return_shape=True)(consts, init, x)
    structure, leaves = jax.tree.structure(shapes), jax.tree.leaves(consts)
    before, after = parted(program, len(leaves))
    held = lax.optimization_barrier(before(*leaves))

    def turn(state: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        return jax.tree.unflatten(structure, after(held, *leaves, *jax.tree.leaves((state, x))))

    return lax.scan(turn, init, xs, length, unroll=unroll)
