"""`linear_scan`: a linear recurrence, all of its steps at once, with credit that can be cut.

Many steps of h_t = a_t ⊙ h_{t-1} + b_t compose to one step of the same form, so that T steps take about 2 log₂ T turns
of a tree (`jax.lax.associative_scan`). A perturbation of h follows the recurrence with the factors gate_t · a_t, and
credit follows it backwards: both are computed by such a tree too.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.scan import checked_gates, truncation_cut
from tbptt_jax.gradients.cuts.transposed import linear
from tbptt_jax.leaves import before_each


def linear_scan(
    factors: Any,
    added: Any,
    init: Any = None,
    *,
    truncation: Any = None,
    key: Array | None = None,
    gates: Any = None,
    batch_axis: int | None = None,
) -> Array:
    """The states of h_t = factors_t ⊙ h_{t-1} + added_t, all at once, with a derivative that can be cut.

    It has derivatives in both modes and of every order.

    Args:
        factors: Real or complex, `[T, ...]`; axes but the first may be of size 1.
        added: Real or complex, `[T, ...]`.
        init: h_0, `[...]`; None: 0.
        truncation: A truncating estimator that cuts by gates; a window, which has none, is refused.
        key: For a truncation that draws at random.
        gates: The factors on credit, `[T]` or `[T, B]`, in the place of a truncation.
        batch_axis: The axis of the state along which sequences lie side by side, so that gates are drawn for each.
            Gates `[T, B]` that are given lie along the leading one, unless it says another.

    Returns:
        h_1..h_T, `[T, ...]`.

    References:
        Martin & Cundy 2018, Parallelizing linear recurrent neural nets over sequence length.
    """
    factors, added = jnp.asarray(factors), jnp.asarray(added)
    kind = jnp.result_type(factors, added)
    if not jnp.issubdtype(kind, jnp.inexact):
        raise UserError(f"factors, added: floats or complex numbers are needed, got {factors.dtype} and {added.dtype}")
    fits = factors.ndim == added.ndim > 0 and factors.shape[0] == added.shape[0]
    if not fits or any(a not in (1, b) for a, b in zip(factors.shape, added.shape)):
        raise UserError(
            f"factors: shape {list(added.shape)} is needed to match added, or 1 in the place of an axis after the "
            f"first, got {list(factors.shape)}"
        )
    start = jnp.zeros(added.shape[1:], kind) if init is None else jnp.asarray(init, kind)
    if start.shape != added.shape[1:]:
        raise UserError(f"init: shape {list(added.shape[1:])} is needed to match added, got {list(start.shape)}")
    if truncation is not None and gates is not None:
        raise UserError("truncation, gates: give one of the two, not both")
    factors, added, steps = factors.astype(kind), added.astype(kind), added.shape[0]
    if steps == 0:
        return added
    axis = batch_axis or 0
    if truncation is not None:

        def before() -> Array:
            return before_each(start, recur(factors, added, start, jnp.ones(steps), 0))

        cut = truncation_cut(truncation, key, steps, start.real, (factors, added), before, batch_axis)
        gates = cut.as_gates(steps)
        if gates is None:
            raise UserError(f"truncation: gates are needed, and {truncation} has none")
    elif gates is not None:
        gates = checked_gates(gates, steps, start.real, False, axis)
    return recur(factors, added, start, jnp.ones(steps) if gates is None else gates, axis)


def recur(factors: Array, added: Array, init: Array, gates: Array, axis: int) -> Array:
    """The states, for arguments that are known to fit; gates `[T]`, or `[T, B]` with B along an axis of the state."""
    shape = [len(gates)] + [1] * init.ndim
    if gates.ndim == 2:
        shape[1 + axis % init.ndim] = gates.shape[1]
    return gated(factors, added, init, lax.stop_gradient(gates).reshape(shape).astype(added.real.dtype))


@jax.custom_jvp
def gated(factors: Array, added: Array, init: Array, gates: Array) -> Array:
    """The values, which no gate changes."""
    return all_at_once(factors, added, init)


@gated.defjvp
def derivative(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The recurrence of a perturbation: a step carries on as much of it as the gate lets through, and adds its own
    part. A derivative of this derivative passes the same gates."""
    factors, _, init, gates = primals
    factors_dot, added_dot, init_dot, _ = tangents
    states = gated(*primals)
    before = before_each(init, states)
    held = lax.stop_gradient(before)
    added_dot = factors_dot * (held + gates * (before - held)) + added_dot
    return states, linear(push, pull, gates * factors, (added_dot, init_dot))


def push(factors: Array, moved: tuple[Array, Array]) -> Array:
    return gated(factors, *moved, jnp.ones((1,) * factors.ndim, factors.real.dtype))


def pull(factors: Array, credit: Array) -> tuple[Array, Array]:
    """The transpose: credits of all steps, from the last to the first, and that on the initial state."""
    later = jnp.concatenate([factors[1:], jnp.zeros_like(factors[:1])])
    credits = jnp.flip(push(jnp.flip(later, 0), (jnp.flip(credit, 0), jnp.zeros_like(credit[0]))), 0)
    return credits, jnp.broadcast_to(factors[0], credit.shape[1:]) * credits[0]


def all_at_once(factors: Array, added: Array, init: Array) -> Array:
    """The states by a tree of pairs (a, b): h after some steps is a ⊙ h before them, plus b."""

    def after(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    return lax.associative_scan(after, (factors, added.at[0].add(factors[0] * init)))[1]
