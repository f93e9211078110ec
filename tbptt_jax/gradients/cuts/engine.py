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

from tbptt_jax.gradients.cuts.kinds import Cut, Gates
from tbptt_jax.gradients.cuts.linear_map import CutMap, tangent_of, tangents_of_floats
from tbptt_jax.gradients.cuts.recompute import RecomputingMap, keep_to_gates, scan_in_blocks
from tbptt_jax.gradients.cuts.schedule import schedule
from tbptt_jax.gradients.cuts.transposed import linear
from tbptt_jax.jax_internals import ClosedJaxpr, jaxpr_as_fun, without_prints


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

    def remembering(self) -> "Steps":
        """The same, which put out the state that they start from beside y."""

        def remember(step, consts, state, x):
            new_state, y = step(consts, state, x)
            return new_state, (state, y)

        return Steps(*(partial(remember, step) for step in self))


def run(
    steps: Steps, length: int | None, unroll: Any, consts: list, init: PyTree, xs: PyTree, cut: Cut
) -> tuple[PyTree, PyTree]:
    """The scan with a derivative of its own."""
    total = length if length is not None else jax.tree.leaves(xs)[0].shape[0]
    states = cut.states if isinstance(cut, Gates) else None
    plan = schedule(total, states) if states is not None and states < total else None

    @jax.custom_jvp
    def cut_scan(consts, init, xs, cut):
        return lax.scan(partial(steps.forward, consts), init, xs, length, unroll=unroll)

    @partial(cut_scan.defjvp, symbolic_zeros=True)
    def derivative(primals, tangents):
        consts, init, xs, cut = primals
        if plan is not None:
            assert isinstance(cut, Gates)
            consts, init, xs = keep_to_gates(cut, (consts, init, xs))
            final, ys, slots = scan_in_blocks(partial(steps.forward, consts), init, xs, plan)
            moving = [tangents_of_floats(*part) for part in zip(primals[:3], tangents[:3])]
            few = RecomputingMap(steps.again, moving, plan)
            moved = linear(few.push, few.pull, (consts, (slots, init), xs, cut), few.moving)
            return (final, ys), tuple(map(tangent_of, (final, ys), moved))
        # through `run` again, so that a derivative of the derivative is cut in the same places
        final, (states, ys) = run(steps.remembering(), length, unroll, consts, init, xs, cut)
        linear_map = CutMap(steps.again, [tangents_of_floats(*part) for part in zip(primals[:3], tangents[:3])])
        moved = linear(linear_map.push, linear_map.pull, (consts, states, xs, cut), linear_map.moving)
        return (final, ys), tuple(map(tangent_of, (final, ys), moved))

    return cut_scan(consts, init, xs, cut)
