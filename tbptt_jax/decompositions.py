"""Decompositions of matrices, one matrix after the other.

On a CPU, jaxlib 0.10 divides a batch of matrices among the threads that also run the rest of a program, and waits for
them: of two batches in one program, each may wait for the other for ever. A matrix that comes alone is decomposed where
it is. These have no derivative: weights are drawn by them, and influences cut.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float


@sequential_vmap
def qr(matrix: Float[Array, "M N"]):
    """Orthonormal columns Q and a triangular R, whose product is the matrix."""
    return in_32_bits(jnp.linalg.qr, matrix)


@sequential_vmap
def eigh(matrix: Float[Array, "N N"]):
    """Eigenvalues of a symmetric matrix, the smallest first, and their vectors as columns."""
    return in_32_bits(jnp.linalg.eigh, matrix)


@sequential_vmap
def svd(matrix: Float[Array, "M N"]):
    """Left singular vectors as columns, the singular values, the largest first, and right ones as rows."""
    return in_32_bits(partial(jnp.linalg.svd, full_matrices=False), matrix)


def in_32_bits(decompose: Callable, matrix: Array) -> tuple:
    """The parts of a matrix of 32 bits at least, of which alone there is a decomposition, in its own type."""
    wide = jnp.promote_types(matrix.dtype, jnp.float32)
    return tuple(part.astype(matrix.dtype) for part in decompose(matrix.astype(wide)))


def orthogonal(key: Array, size: int) -> Float[Array, "N N"]:
    """An orthogonal matrix, drawn uniformly, as `jax.random.orthogonal` draws it."""
    columns, triangle = qr(jax.random.normal(key, (size, size)))
    return columns * jnp.sign(jnp.diagonal(triangle))
