"""The engine behind `scan`: a scan whose derivative is a cut linear map.

Forward it is `lax.scan`, and only the states h_0..h_{T-1} are kept. Backward, a cut (see `kinds`) says how credit flows
from state to state; a vectorised pullback over many steps at once then gives what the parameters and inputs receive,
Σ_t F_tᵀ δ_t: no parameter-sized sum is carried from step to step. Where credit goes step by step, this alternates in
stretches of `STRETCH` steps, short enough for the credits to stay in a processor's cache. Forward-mode derivatives are
the transpose of this: a cut says how far a perturbation goes. Nothing in the forward pass depends on the cut, so `vmap`
over keys or gates runs it once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree

from tbptt_jax.gradients.cuts.kinds import Cut, Gates, zeros_like
from tbptt_jax.gradients.cuts.linearize import Pullbacks, Pushes
from tbptt_jax.gradients.cuts.transposed import linear
from tbptt_jax.gradients.leaves import floats, is_float, with_floats
from tbptt_jax.jax_internals import ClosedJaxpr, jaxpr_as_fun, without_prints

STRETCH = 32


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

    @jax.custom_jvp
    def cut_scan(consts, init, xs, cut):
        return lax.scan(partial(steps.forward, consts), init, xs, length, unroll=unroll)

    @partial(cut_scan.defjvp, symbolic_zeros=True)
    def derivative(primals, tangents):
        consts, init, xs, cut = primals
        # through `run` again, so that a derivative of the derivative is cut in the same places
        final, (states, ys) = run(steps.remembering(), length, unroll, consts, init, xs, cut)
        linear_map = CutMap(steps.again, [tangents_of_floats(*part) for part in zip(primals[:3], tangents[:3])])
        moved = linear(linear_map.push, linear_map.pull, (consts, states, xs, cut), linear_map.moving)
        return (final, ys), tuple(map(tangent_of, (final, ys), moved))

    return cut_scan(consts, init, xs, cut)


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
