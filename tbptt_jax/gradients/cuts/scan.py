"""`scan`: a `jax.lax.scan` whose derivative can be cut. It says what may be asked for; `engine` does it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Cut, Gates, Truncates
from tbptt_jax.gradients.cuts.schedule import kept
from tbptt_jax.leaves import floats, is_float


def scan(
    f: Callable,
    init: PyTree,
    xs: PyTree = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: Any = 1,
    *,
    truncation: Any = None,
    key: Array | None = None,
    gates: Any = None,
    batch_axis: int | None = None,
    states: int | str | None = None,
) -> tuple[PyTree, PyTree]:
    """`jax.lax.scan(f, init, xs, length, reverse, unroll)` with a backward pass that can be cut.

    The values are those of `lax.scan`, and so are the gradients where nothing is cut. With a cut it has derivatives of
    every order, in both modes, of one and the same cut linear map; with a cut and `states`, first derivatives only.

    Args:
        f: The step, (state, x) → (state, y).
        init: The first state.
        xs: What the steps read, leaves `[T, ...]`, or None.
        length: How many steps there are, where nothing is read.
        reverse: Whether it runs from the last x to the first.
        unroll: As `lax.scan` takes it.
        truncation: A truncating estimator, such as `Segment(16)`, `Window(8)` or `Randomized(0.9)`. It treats the state
            as one sequence, unless `batch_axis` is given: one draw for a whole batch has more variance.
        key: For a truncation that draws at random.
        gates: In the place of a truncation, floats `[T]` or `[T, B]`: the factor on the credit that the step reading
            xs[t] passes to the state before it.
        batch_axis: The axis of all leaves of the state along which sequences lie side by side: gates are drawn for
            each. Gates `[T, B]` that are given lie along the leading one, unless it says another.
        states: How many states are kept at once for the backward pass, a number or "sqrt" (2 √T of them); the others
            are made again. It goes with no cut, with gates, and with every truncation but `telescope`, which draws the
            length of its window, and a window whose `tau` is traced.

    Returns:
        The last state, and the ys `[T, ...]`.

    References:
        Griewank 1992, Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
        differentiation, for `states`.
    """
    if truncation is None and gates is None and states is None:
        return lax.scan(f, init, xs, length, reverse, unroll)
    if truncation is not None and gates is not None:
        raise UserError("truncation, gates: give one of the two, not both")
    # lax.scan checks the arguments, and says what the state becomes where it widens a Python number
    final, _ = jax.eval_shape(lambda init, xs: lax.scan(f, init, xs, length, reverse), init, xs)
    steps = length if length is not None else jax.tree.leaves(xs)[0].shape[0]
    if steps == 0 or not floats(final):  # nothing that credit could flow through
        return lax.scan(f, init, xs, length, reverse, unroll)
    init = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), init, final)
    if truncation is not None:
        before = partial(states_before, f, init, xs, steps, reverse)
        cut = truncation_cut(truncation, key, steps, init, in_order(xs, reverse), before, batch_axis)
    else:
        axis = batch_axis or 0
        cut = Gates(None if gates is None else checked_gates(gates, steps, init, reverse, axis), axis)
    if states is not None:
        cut = keeping(cut, states, steps, truncation)
    return scan_with_cut(f, init, xs, steps, reverse, unroll, cut=cut)


def states_before(f: Callable, init: PyTree, xs: PyTree, length: int, reverse: bool) -> PyTree:
    """What is carried into each step, in the order in which the steps run."""
    return in_order(lax.scan(lambda state, x: (f(state, x)[0], state), init, xs, length, reverse)[1], reverse)


def scan_with_cut(
    f: Callable, init: PyTree, xs: PyTree, length: int, reverse: bool = False, unroll: Any = 1, *, cut: Cut
) -> tuple[PyTree, PyTree]:
    """A scan with a cut, in the order in which the steps run, for arguments that are known to fit."""
    final, ys = cut_scan(f, init, in_order(xs, reverse), cut, length, unroll)
    return final, in_order(ys, reverse)


def in_order(leaves: PyTree, reverse: bool) -> PyTree:
    """What is read or made at each step, in the order in which the steps run."""
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), leaves) if reverse else leaves


def keeping(cut: Cut, states: int | str, steps: int, truncation: Any) -> Cut:
    """The cut with so many states kept."""
    few = cut.keeping(kept(states, steps), steps)
    if few is None:
        raise UserError(
            f"states: {truncation} needs those of all steps side by side, since its windows are as long as is drawn or "
            f"traced; leave states={states!r} out, or give a length that is a Python number"
        )
    return few


def require_truncation(truncation: Any) -> None:
    if not isinstance(truncation, Truncates):
        raise UserError(
            "truncation: an estimator that cuts, such as Segment(16), Window(8), Randomized(0.9) or ARTBP(16), is "
            f"needed, got {truncation}"
        )
    if truncation.parallel:
        raise UserError("parallel: nobody knows of a loop that its step is linear; leave it out, or use tb.linear_scan")


def truncation_cut(
    truncation: Any,
    key: Array | None,
    steps: int,
    state: PyTree,
    inputs: PyTree,
    before: Callable[[], PyTree],
    batch_axis: int | None,
) -> Cut:
    """The cut, by an estimator that cuts, of one loop that carries `state`, reads `inputs` and whose steps start from
    `before()`, in the order in which they run. Sequences lie along the same axis of all, after the steps."""
    require_truncation(truncation)
    if truncation.learns:
        raise UserError(
            f"truncation: {truncation} learns from chunk to chunk, which a loop cannot; call the estimator, or leave "
            "its critic out"
        )
    if batch_axis is None:
        return truncation.cut_seeing(inputs, before, key, steps, None)

    def in_rows(leaves: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: batch_second(leaf, batch_axis), leaves)

    if truncation.sees_inputs:
        inputs = in_rows(inputs)
    size = batch_size_of(state, batch_axis)
    return truncation.cut_seeing(inputs, lambda: in_rows(before()), key, steps, size).along(batch_axis)


def batch_second(leaf: Array, axis: int) -> Array:
    """What is read or carried at each step `[T, ...]`, its batch axis moved behind the steps; one without such an axis,
    such as a counter of steps, as it is."""
    if not -leaf.ndim < axis < leaf.ndim - 1:
        return leaf
    return jnp.moveaxis(leaf, axis + 1 if axis >= 0 else axis, 1)


def batch_size_of(state: PyTree, axis: int) -> int:
    """How many sequences lie along an axis of every floating-point leaf."""
    shapes = [jnp.shape(leaf) for leaf in floats(state)]
    sizes = {shape[axis] if -len(shape) <= axis < len(shape) else None for shape in shapes}
    if len(sizes) != 1 or None in sizes:
        found = [list(shape) for shape in shapes]
        raise UserError(f"batch_axis: one size along axis {axis} is needed of all that is carried, got shapes {found}")
    return sizes.pop()  # type: ignore[return-value]


def checked_gates(gates: Any, steps: Any, init: PyTree, reverse: bool, axis: int):
    """The gates in the order in which the steps run; sequences lie along an axis of the states."""
    gates = jnp.asarray(gates)
    if not is_float(gates):
        raise UserError(f"gates: floats are needed, got {gates.dtype}")
    sizes = {leaf.shape[axis] if -leaf.ndim <= axis < leaf.ndim else None for leaf in floats(init)}
    if gates.shape != (steps,) and not (gates.ndim == 2 and gates.shape[0] == steps and sizes == {gates.shape[1]}):
        where = f"axis {axis}" if axis else "the leading axis"
        raise UserError(
            f"gates: shape [{steps}] is needed, or [{steps}, B] with B {where} of every state leaf, "
            f"got {list(gates.shape)} for states {[list(leaf.shape) for leaf in floats(init)]}"
        )
    return jnp.flip(gates, 0) if reverse else gates
