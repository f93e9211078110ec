"""A gate: the factor on the credit that a step passes back to the state before it."""

from typing import Any

from jaxtyping import Array


def scale(leaf: Any, gate: Array, axis: int = 0) -> Any:
    """A leaf times a gate `[]`, or a leaf with B along an axis times a gate `[B]`."""
    shape = [1] * leaf.ndim
    if gate.ndim:
        shape[axis] = gate.shape[0]
    return leaf * gate.astype(leaf.dtype).reshape(shape)
