"""A linear map that knows its own transpose: how often each way is traced, and what of it stays known."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from tbptt_jax.gradients.cuts.transposed import Once, linear

MATRIX = jnp.arange(1.0, 7).reshape(2, 3) / 4
NARROW = jnp.array([0.5, -1.0, 2.0])


@pytest.fixture
def counted():
    """A map x → Ax whose ways there and back count how often they are run, and the counts."""
    runs = {"push": 0, "pull": 0}

    def push(matrix, x):
        runs["push"] += 1
        return matrix @ x

    def pull(matrix, y_bar):
        runs["pull"] += 1
        return matrix.T @ y_bar

    @jax.custom_jvp
    def apply(matrix, x):
        return matrix @ x

    @apply.defjvp
    def _(primals, tangents):
        (matrix, x), (_, moved) = primals, tangents
        return apply(matrix, x), linear(push, pull, matrix, moved)

    return apply, runs


def test_each_way_is_traced_once(counted):
    apply, runs = counted
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(apply(MATRIX, x) ** 2)))
    assert jnp.allclose(gradient(NARROW), 2 * MATRIX.T @ MATRIX @ NARROW, atol=1e-14)
    assert runs == {"push": 1, "pull": 1}


def test_side_by_side_too(counted):
    apply, runs = counted
    gradients = jax.jit(jax.vmap(jax.grad(lambda x: jnp.sum(apply(MATRIX, x) ** 2))))
    stacked = jnp.stack([NARROW, -3 * NARROW])
    assert jnp.allclose(gradients(stacked), 2 * stacked @ (MATRIX.T @ MATRIX), atol=1e-14)
    assert runs == {"push": 1, "pull": 1}


def test_types_are_told_apart():
    twice = Once(lambda x: [2 * x])
    short, long = jax.jit(lambda a, b: twice(a) + twice(b))(jnp.ones(2, jnp.float32), jnp.ones(3))
    assert short.dtype == jnp.float32 and long.dtype == jnp.float64
    assert jnp.array_equal(short, jnp.full(2, 2.0)) and jnp.array_equal(long, jnp.full(3, 2.0))


def test_what_is_known_stays_known_to_derivatives_of_derivatives():
    """A loop of a known number of turns is a scan, whose derivative can be transposed; of an unknown one it is not."""

    def powers(residuals, x):
        factor, turns = residuals
        return lax.fori_loop(0, turns, lambda _, x: factor * x, x)

    def of(factor):
        return linear(powers, powers, (factor, 3), 5.0)

    assert jax.jit(jax.grad(of))(2.0) == 60 and jax.jit(lambda w: jax.vmap(jax.grad(of))(w))(jnp.ones(2))[1] == 15
