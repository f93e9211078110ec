"""Estimators that draw signs, over all of their patterns: means, variances, and the cut to fewer products."""

import dataclasses
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.estimators.ok import fewer, least_variance
from tests.problems import distance, problem, scaled, total
from tests.tiers import cases, thorough


def with_given_noise(est):
    """The estimator with its noise in the place of its key."""
    kind = type(est)
    given = type(f"Given{kind.__name__}", (kind,), {"name": f"given_{kind.name}", "noise": lambda s, key, *_: key})
    return given(**{field.name: getattr(est, field.name) for field in dataclasses.fields(est)})


@cache
def over_all_signs(est, name, length, chunks=1):
    """The flat estimates `[N, P]` of a short sequence of one batch row, one for each pattern of signs; and the exact
    gradient."""
    model, params, batch = problem(name)
    batch = jax.tree.map(lambda leaf: leaf[:length, :1], batch._replace(weights=batch.weights + 0.1))
    dynamics = est.dynamics(model, params, model.initial_state(params, 1), batch.inputs[0])
    draws = length // getattr(est, "memory", 1)  # one for each block of steps
    shape = jax.eval_shape(lambda: est.noise(jax.random.key(0), (draws, 1), dynamics)).shape
    signs = jnp.asarray(np.array(list(product((-1.0, 1.0), repeat=int(np.prod(shape)))))).reshape(-1, *shape)
    given = with_given_noise(est)

    @jax.jit
    def estimates(params):
        def one(signs):
            carry, parts = given.init(model, params, batch, None), []
            for i in range(chunks):
                part = slice(i * length // chunks, (i + 1) * length // chunks)
                chunk = jax.tree.map(lambda leaf, part=part: leaf[part], batch)
                own = signs[i * draws // chunks : (i + 1) * draws // chunks]
                estimate, carry = given(model, params, carry, chunk, own)
                parts.append(scaled(jnp.sum(chunk.weights) / jnp.sum(batch.weights), estimate.grads))
            return ravel_pytree(total(parts))[0]

        return jax.lax.map(one, signs, batch_size=256)

    exact = ravel_pytree(jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch))[0]
    return np.asarray(estimates(params)), np.asarray(exact)


UNBIASED = [
    (tb.UORO(), "tanh", 4, 1),
    (tb.UORO(), "tanh", 4, 2),
    (tb.UORO(), "lstm", 2, 1),
    (tb.KFRTRL(), "tanh", 6, 1),
    (tb.KFRTRL(), "tanh", 6, 2),
    (tb.KFRTRL(), "lstm", 5, 1),
    (tb.UORO(rank=2), "tanh", 2, 1),
    (tb.UORO(memory=2), "tanh", 6, 1),
    (tb.UORO(memory=2), "tanh", 4, 2),
    (tb.UORO(memory=2), "lstm", 4, 2),
    (tb.NoBackTrack(memory=3), "tanh", 6, 1),
    (tb.NoBackTrack(), "tanh", 4, 2),
    (tb.RKFRTRL(), "tanh", 4, 2),
    (tb.RKFRTRL(), "lstm", 1, 1),
    (tb.OK(1), "tanh", 5, 1),
    (tb.OK(2), "tanh", 4, 2),
    (tb.OK(1), "lstm", 4, 1),
]


def over_two_chunks(case):
    return case[1] == "tanh" and case[3] == 2


@pytest.mark.parametrize(("est", "name", "length", "chunks"), cases(UNBIASED, over_two_chunks), ids=str)
def test_the_mean_over_all_sign_patterns_is_the_exact_gradient(est, name, length, chunks):
    found, exact = over_all_signs(est, name, length, chunks)
    assert np.max(np.abs(found.mean(0) - exact)) < 1e-10
    assert length == 1 or np.max(found.std(0)) > 1e-6  # a single estimate is not


@thorough
def test_ok_has_less_variance_than_kf_rtrl_and_less_with_a_higher_rank():
    """Exactly: over all signs of the same problem."""

    def variance(est):
        return np.sum(over_all_signs(est, "tanh", 4)[0].var(0))

    kf, one, two = variance(tb.KFRTRL()), variance(tb.OK(1)), variance(tb.OK(2))
    assert two < one < kf


@pytest.mark.parametrize("rank", [10, 40])
def test_as_many_products_as_there_are_inputs_are_exact(rank):
    """A sum of products has no more of them than its shorter factors have numbers; what is asked beyond is not made."""
    model, params, batch = problem("tanh", length=5)
    found = jax.jit(lambda key: tb.gradient(tb.OK(rank), model, params, batch, key))(jax.random.key(0))
    assert distance(found, jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch)) < 1e-10


def test_the_mean_of_two_products_has_half_the_variance():
    one, two = (np.sum(over_all_signs(tb.UORO(rank=r), "tanh", 2)[0].var(0)) for r in (1, 2))
    assert two == pytest.approx(one / 2, rel=1e-10)


@pytest.mark.parametrize("values", [[1.0, 0.9, 0.8], [5.0, 0.2, 0.1], [1.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0]])
def test_the_cut_to_fewer_products_is_unbiased_and_its_variance_is_the_least(values):
    """The mean over signs; and the variance of Benzing et al.: the k + 1 smallest values share k places evenly."""
    values = np.array(values)
    mixed = np.asarray(least_variance(jnp.asarray(values)))
    q = len(values)
    assert mixed.shape == (q, q - 1)
    found = []
    for signs in product([-1.0, 1.0], repeat=q):
        signed = np.array(signs)[:, None] * mixed
        found.append(signed @ signed.T)
    assert np.max(np.abs(np.mean(found, 0) - np.diag(values))) < 1e-12
    variance = np.mean([np.sum((one - np.diag(values)) ** 2) for one in found])
    bounds = []
    for m in range(q - 1):  # the m largest kept: at least this for the others, where it can be had
        rest = values[m:]
        if rest[0] * (q - 1 - m) <= rest.sum() + 1e-12:
            bounds.append(rest.sum() ** 2 / (q - 1 - m) - np.sum(rest**2))
    assert variance == pytest.approx(min(bounds), abs=1e-12)


def test_the_cut_keeps_what_fits():
    """Two products, one of which is nothing: the other is kept, whatever the sign."""
    draw = np.random.default_rng(0)
    left, right = (jnp.asarray(draw.normal(size=(2, n)) * [[1.0], [0.0]]) for n in (3, 4))
    for signs in product([-1.0, 1.0], repeat=2):
        a, b = fewer(left, right, jnp.asarray(signs))
        assert np.max(np.abs(a.T @ b - left.T @ right)) < 1e-12


def test_memory_takes_noise_away_and_all_of_it_within_a_block():
    """Exactly: over all signs of the same steps."""

    def spread(est):
        found, exact = over_all_signs(est, "tanh", 4, 1)
        return float(np.sum((found - exact) ** 2, axis=1).mean())

    step_by_step, pairs, whole = (spread(tb.UORO(memory=memory)) for memory in (1, 2, 4))
    assert whole < 1e-20 < pairs < step_by_step
    with pytest.raises(tb.UserError, match="whole blocks is needed, got 4 steps, memory=3"):
        spread(tb.UORO(memory=3))
