"""`scan`: a `jax.lax.scan` whose derivative can be cut. It says what may be asked for; `engine` does it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Cut, Gates, Truncates
from tbptt_jax.gradients.leaves import floats, is_float


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
):
    """`jax.lax.scan(f, init, xs, length, reverse, unroll)` with a backward pass that can be cut.

    `truncation` is a truncating estimator such as `Segment(16)`, `Window(8)` or `Randomized(0.9)`; one that draws at
    random needs a `key`. Or `gates`, floats `[T]` or `[T, B]` (B the leading axis of every floating-point leaf of the
    state): the factor on the credit that the step reading xs[t] passes to the state before it. A truncation treats the
    state as one sequence; `vmap` over sequences, each with its key, cuts each of them on its own.

    The values are those of `lax.scan`, and so are the gradients where neither is given. With a cut it has derivatives
    of every order, in both modes: of one and the same cut linear map.
    """
    if truncation is None and gates is None:
        return lax.scan(f, init, xs, length, reverse, unroll)
    if truncation is not None and gates is not None:
        raise UserError("truncation, gates: give one of the two, not both")
    # lax.scan checks the arguments, and says what the state becomes where it widens a Python number
    final, _ = jax.eval_shape(lambda init, xs: lax.scan(f, init, xs, length, reverse), init, xs)
    steps = length if length is not None else jax.tree.leaves(xs)[0].shape[0]
    if steps == 0 or not floats(final):  # nothing that credit could flow through
        return lax.scan(f, init, xs, length, reverse, unroll)
    init = jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), init, final)
    cut = truncation_cut(truncation, key, steps) if gates is None else Gates(checked_gates(gates, steps, init, reverse))
    xs = jax.tree.map(lambda leaf: jnp.flip(leaf, 0), xs) if reverse else xs
    final, ys = cut_scan(f, init, xs, cut, steps, unroll)
    return final, jax.tree.map(lambda leaf: jnp.flip(leaf, 0), ys) if reverse else ys


def truncation_cut(truncation: Any, key: Array | None, steps: int) -> Cut:
    if not isinstance(truncation, Truncates):
        raise UserError(f"truncation: an estimator that cuts, such as Segment(16), is needed, got {truncation}")
    return truncation.cut(key, steps, None)


def checked_gates(gates: Any, steps: Any, init: PyTree, reverse: bool):
    """The gates in the order in which the steps run."""
    gates = jnp.asarray(gates)
    if not is_float(gates):
        raise UserError(f"gates: floats are needed, got {gates.dtype}")
    batches = {leaf.shape[:1] for leaf in floats(init)}
    if gates.shape != (steps,) and not (gates.ndim == 2 and gates.shape[0] == steps and batches == {gates.shape[1:]}):
        raise UserError(
            f"gates: shape [{steps}] is needed, or [{steps}, B] with B the leading axis of every state leaf, "
            f"got {list(gates.shape)} for states {[list(leaf.shape) for leaf in floats(init)]}"
        )
    return jnp.flip(gates, 0) if reverse else gates
