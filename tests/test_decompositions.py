"""Decompositions of batches of matrices, of which jaxlib's own may hang on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import decompositions
from tbptt_jax.jax_internals import jaxprs_in_params


@pytest.mark.parametrize("name", ["qr", "eigh"])
def test_every_matrix_comes_alone(name):
    """jax.vmap of jnp.linalg's own hands them over as a batch, and two batches at once may wait for each other."""

    def largest(function) -> int:
        """The dimensions of the largest array that LAPACK is given."""
        jaxpr = jax.make_jaxpr(jax.vmap(function))(jnp.ones((3, 4, 4))).jaxpr
        return max(
            (eqn.invars[0].aval.ndim for eqn in all_equations(jaxpr) if eqn.primitive.name in ("qr", "geqrf", "eigh")),
        )

    assert largest(getattr(decompositions, name)) == 2
    assert largest(getattr(jnp.linalg, name)) == 3


def all_equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for sub in jaxprs_in_params(eqn.params):
            yield from all_equations(sub)


def test_they_are_those_of_numpy():
    matrices = jax.random.normal(jax.random.key(0), (3, 5, 5))
    columns, triangles = jax.vmap(decompositions.qr)(matrices)
    np.testing.assert_allclose(columns @ triangles, matrices, atol=1e-12)
    np.testing.assert_allclose(jnp.tril(triangles, -1), 0, atol=1e-12)
    symmetric = matrices + matrices.transpose(0, 2, 1)
    values, vectors = jax.vmap(decompositions.eigh)(symmetric)
    np.testing.assert_allclose(symmetric @ vectors, vectors * values[:, None], atol=1e-12)


def test_orthogonal_is_drawn_as_jax_draws_it():
    key = jax.random.key(3)
    np.testing.assert_allclose(decompositions.orthogonal(key, 6), jax.random.orthogonal(key, 6), atol=1e-12)
