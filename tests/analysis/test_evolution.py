"""The variance of perturbing estimators in closed form: by enumeration of their noise, and by its parts."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tests.estimators.test_perturbation import given
from tests.problems import QUICK, problem
from tests.tiers import cases, thorough

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(3)  # exact for the fourth powers of a variance
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def quadratic(times):
    """A scalar parameter, a loss that is quadratic in it, so that differences are linear in the noise at any sigma."""
    task = tb.InfluenceBalancing(length=4 * times)
    return task.model(), {"theta": jnp.array(0.7)}, task.batch(jax.random.key(0))


@pytest.mark.parametrize(
    ("kind", "more"),
    cases(
        [(tb.PES, {}), (tb.NRES, {}), (tb.GPES, {"reuse": 2}), (tb.TruncatedES, {})],
        lambda case: case[0] in (tb.GPES, tb.TruncatedES),
    ),
    ids=lambda one: getattr(one, "name", ""),
)
def test_against_the_enumeration_of_all_noise_on_a_quadratic(kind, more):
    times = 3
    model, params, batch = quadratic(times)
    est = given(kind, **more)

    @jax.jit
    def estimate(noise):
        carry, total = est.init(model, params, batch, noise[0]), 0.0
        for i in range(times):
            chunk = jax.tree.map(lambda leaf, i=i: leaf[4 * i : 4 * i + 4], batch)
            one, carry = est(model, params, carry, chunk, noise[i])
            total += one.grads["theta"] / times
        return total

    mean, square = 0.0, 0.0
    for choice in product(range(3), repeat=times):
        probability = np.prod(WEIGHTS[list(choice)])
        value = float(estimate(est.sigma * jnp.asarray(NODES)[jnp.asarray(choice)][:, None, None]))
        mean, square = mean + probability * value, square + probability * value**2
    found = tb.exact.evolution(kind(**more, particles=1), model, params, batch, 4)
    assert float(found.mean[0]) == pytest.approx(mean, abs=1e-12)
    assert float(found.variance) == pytest.approx(square - mean**2, rel=1e-10)


@thorough
@pytest.mark.parametrize("name", cases(["tanh", "lstm"], QUICK))
def test_its_means_and_its_ends(name):
    model, params, batch = problem(name)
    gradient = ravel_pytree(tb.gradient(tb.Full(), model, params, batch))[0]
    width, norm = len(gradient), jnp.sum(gradient**2)
    for est in (tb.PES(), tb.NRES(), tb.GPES(reuse=2)):
        assert np.max(np.abs(tb.exact.evolution(est, model, params, batch, 2).mean - gradient)) < 1e-12
    nres, pes = (tb.exact.evolution(est, model, params, batch, 1).variance for est in (tb.NRES(), tb.PES()))
    assert float(nres) == pytest.approx(float((width + 1) * norm / 8), rel=1e-10)  # of 8 particles
    assert abs(pes - nres) > 1e-3 * nres
    for reuse, other in ((1, pes), (99, nres)):
        same = tb.exact.evolution(tb.GPES(reuse=reuse), model, params, batch, 1).variance
        assert float(same) == pytest.approx(float(other), rel=1e-12)
    whole = [tb.exact.evolution(e, model, params, batch, len(batch.inputs)).variance for e in (tb.PES(), tb.NRES())]
    assert float(whole[0]) == pytest.approx(float(whole[1]), rel=1e-12)
    segments = tb.gradient(tb.Segment(2), model, params, batch)
    truncated = tb.exact.evolution(tb.TruncatedES(), model, params, batch, 2).mean
    assert np.max(np.abs(truncated - ravel_pytree(segments)[0])) < 1e-12


@thorough
def test_against_sampling():
    """With a small sigma, within five standard errors (a false alarm in fewer than one in a million)."""
    model, params, batch = problem("tanh")
    est = tb.PES(sigma=1e-4, particles=1)

    def one(key):
        keys = jax.random.split(key, 4)
        carry, total = est.init(model, params, batch, keys[0]), 0.0
        for i in range(3):
            chunk = jax.tree.map(lambda leaf, i=i: leaf[2 * i : 2 * i + 2], batch)
            estimate, carry = est(model, params, carry, chunk, keys[i + 1])
            total += ravel_pytree(estimate.grads)[0] * jnp.sum(chunk.weights) / jnp.sum(batch.weights)
        return total

    samples = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20_000)))
    squares = np.sum((samples - samples.mean(0)) ** 2, axis=1)
    exact = float(tb.exact.evolution(est, model, params, batch, 2).variance)
    assert abs(squares.mean() - exact) < 5 * squares.std() / len(squares) ** 0.5 + 1e-3 * exact


@pytest.mark.parametrize(
    ("est", "chunk", "words"),
    [(tb.PES(), 4, "chunk: a divisor"), (tb.PES(chunks=2), 2, "est: pes"), (tb.ES(), 2, "est: pes")],
    ids=str,
)
def test_what_it_cannot_do_is_said_by_name(est, chunk, words):
    with pytest.raises(tb.UserError, match=words):
        tb.exact.evolution(est, *problem("tanh"), chunk)
