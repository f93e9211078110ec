"""Truncated backpropagation as the chapter defines it, in ten lines.

Before each step the state passes through h = stop_gradient(h) + gate * (h − stop_gradient(h)): its value is unchanged,
and the credit that flows back through it is multiplied by the gate. Everything else is `jax.lax.scan` and `jax.grad`.
This is what `tbptt_jax.scan` is tested against: correct, readable, slow.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.gradients.cuts.gate import scale
from tbptt_jax.leaves import is_float


def scan_by_definition(
    f: Callable,
    init: PyTree,
    xs: PyTree = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: Any = 1,
    *,
    gates: Any,
):
    """`jax.lax.scan` in which gates[t], `[T]` or `[T, B]`, scales the credit that step t passes back."""

    def gated_step(state, gate_and_x):
        gate, x = gate_and_x
        return f(jax.tree.map(lambda h: scale_credit(h, gate), state), x)

    return lax.scan(gated_step, init, (gates, xs), length, reverse, unroll)


def scale_credit(h: Any, gate: Array):
    if not is_float(h):
        return h
    held = lax.stop_gradient(h)
    return held + scale(h - held, gate)
