"""A gate: the factor on the credit that a step passes back to the state before it."""

from typing import Any

from jaxtyping import Array


def scale(leaf: Any, gate: Array):
    """A leaf `[...]` times a gate `[]`, or a leaf `[B, ...]` times a gate `[B]`."""
    return leaf * gate.astype(leaf.dtype).reshape(gate.shape + (1,) * (leaf.ndim - gate.ndim))
