"""A gate: the factor on the credit that a step passes back to the state before it."""


def scale(leaf, gate):
    """A leaf `[...]` times a gate `[]`, or a leaf `[B, ...]` times a gate `[B]`."""
    return leaf * gate.astype(leaf.dtype).reshape(gate.shape + (1,) * (leaf.ndim - gate.ndim))
