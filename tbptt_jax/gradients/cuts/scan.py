"""`scan`: a `jax.lax.scan` whose backward pass can be cut.

Forward it is `lax.scan`, and only the states h_0..h_{T-1} are kept. Backward, a cut (see `cuts`) says how credit flows
from state to state; a vectorised pullback over many steps at once then gives what the parameters and inputs receive,
Σ_t F_tᵀ δ_t: no parameter-sized sum is carried from step to step. Where credit goes step by step, this alternates in
stretches of `STRETCH` steps, short enough for the credits to stay in a processor's cache. Nothing in the forward pass
depends on the cut, so `vmap` over keys or gates runs it once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.kinds import Cut, Gates, Truncates, zeros_like
from tbptt_jax.gradients.cuts.linearize import Pullbacks
from tbptt_jax.gradients.leaves import floats, is_float, with_floats
from tbptt_jax.jax_internals import ClosedJaxpr, jaxpr_as_fun

STRETCH = 32


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

    The values are those of `lax.scan`, and so are the gradients where neither is given. With a cut the function has
    reverse-mode derivatives of every order, but no `jax.jvp` (`gradients.definition.scan_by_definition` has).
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


def cut_scan(f: Callable, init: PyTree, xs: PyTree, cut: Cut, length: int | None = None, unroll: int = 1):
    """The scan itself, for arguments that are known to fit: what the estimators call."""
    x = jax.eval_shape(partial(jax.tree.map, lambda leaf: leaf[0]), xs)
    program, shapes = jax.make_jaxpr(f, return_shape=True)(init, x)
    structure = jax.tree.structure(shapes)

    def step(consts, state, x):
        outputs = jaxpr_as_fun(ClosedJaxpr(program.jaxpr, consts))(*jax.tree.leaves((state, x)))
        return jax.tree.unflatten(structure, outputs)

    return run(step, length, unroll, list(program.consts), init, xs, cut)


def run(step: Any, length: int | None, unroll: Any, consts: Any, init: PyTree, xs: PyTree, cut: Any):
    """The scan with its own pullback; `step(consts, state, x)` closes over nothing."""

    @jax.custom_vjp
    def cut_scan(consts, init, xs, cut):
        return lax.scan(partial(step, consts), init, xs, length, unroll=unroll)

    def forward(consts, init, xs, cut):
        def remember(consts, state, x):
            new_state, y = step(consts, state, x)
            return new_state, (state, y)

        # through `run` again, so that a derivative of the derivative is cut in the same places
        final, (states, ys) = run(remember, length, unroll, consts, init, xs, cut)
        return (final, ys), (consts, states, xs, cut)

    def backward(kept, cotangents):
        consts, states, xs, cut = kept
        final_bar, ys_bar = map(floats, cotangents)

        def flow(consts, state, x, h):
            new_state, y = step(consts, with_floats(state, h), x)
            return floats(new_state), floats(y)

        def stretch(credit_and_sum, part):
            """Credit and consts' cotangent, carried back over a stretch of steps; and the cotangents of its xs."""
            credit, consts_sum = credit_and_sum
            states, xs, cut, ys_bar = part

            def every_step(consts_floats, xs_floats):
                consts_now, xs_now = with_floats(consts, consts_floats), with_floats(xs, xs_floats)
                return jax.vmap(lambda state, x: flow(consts_now, state, x, floats(state)))(states, xs_now)

            credits, credit = cut.credits(Pullbacks(flow, consts, states, xs), credit, ys_bar)
            _, pullback = jax.vjp(every_step, floats(consts), floats(xs))
            consts_bar, xs_bar = pullback((credits, ys_bar))
            return (credit, jax.tree.map(jnp.add, consts_sum, consts_bar)), xs_bar

        start = final_bar, [zeros_like(leaf) for leaf in floats(consts)]
        parts = (states, xs, cut, ys_bar)
        (init_bar, consts_bar), xs_bar = in_stretches(
            stretch, start, parts, STRETCH if isinstance(cut, Gates) else None
        )

        def cotangent(like, values):
            return with_floats(like, values, others=lambda _: None)

        return cotangent(consts, consts_bar), cotangent(states, init_bar), cotangent(xs, xs_bar), None

    cut_scan.defvjp(forward, backward)
    return cut_scan(consts, init, xs, cut)


def in_stretches(function: Callable, carry: PyTree, stacked: Any, size: Any):
    """Carry something back through time, `size` steps at a stretch (None: all at once); what is left comes last."""
    length = jax.tree.leaves(stacked)[0].shape[0]
    if size is None or length <= size:
        return function(carry, stacked)
    left = length % size
    whole = jax.tree.map(lambda leaf: leaf[left:].reshape(-1, size, *leaf.shape[1:]), stacked)
    carry, outputs = lax.scan(function, carry, whole, reverse=True)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
    if left:
        carry, first = function(carry, jax.tree.map(lambda leaf: leaf[:left], stacked))
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, outputs)
    return carry, outputs
