"""Estimators that perturb, in float64: exact means by Gauss-Hermite quadrature where the loss is quadratic."""

from dataclasses import fields
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.networks import RNN
from tests.problems import distance, problem, total
from tests.tiers import thorough

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(3)  # exact for polynomials of degree 5 in ε
WEIGHTS = WEIGHTS / WEIGHTS.sum()
SIGMA = 0.3


def given(kind, **more):
    """The estimator with one particle whose ε is given in the place of its key."""

    class Given(kind):
        name = f"given_{kind.name}"

        def draw(self, key, params):
            return key

    return Given(SIGMA, 1, **more)


def mean_over_noise(kind, times, **more):
    """E[the stream's gradient from its chunks] over all nodes of the ε of every chunk, of a quadratic loss."""
    task = tb.InfluenceBalancing(length=4)
    model, batch, est = task.model(), jax.jit(task.batch)(jax.random.key(0)), given(kind, **more)
    params = {"theta": jnp.array(0.7)}

    @jax.jit
    def estimate(noise):
        carry = est.init(model, params, batch, noise[0])
        parts = []
        for i in range(times):
            one, carry = est(model, params, carry, batch, noise[i])
            parts.append(one.grads["theta"] / times)
        return total(parts)

    mean = 0.0
    for choice in product(range(3), repeat=times):
        probability = np.prod(WEIGHTS[list(choice)])
        mean += probability * float(estimate(SIGMA * jnp.asarray(NODES)[jnp.asarray(choice)][:, None, None]))
    whole = tb.InfluenceBalancing(length=4 * times).batch(jax.random.key(0))
    return mean, float(jax.grad(tb.loss, 1)(model, params, whole)["theta"])


@pytest.mark.parametrize("kind, chunks", [(tb.ES, 1), (tb.PES, 3), (tb.NRES, 3)])
def test_the_mean_is_the_gradient_of_the_whole_stream_where_the_loss_is_quadratic(kind, chunks):
    mean, exact = mean_over_noise(kind, chunks)
    assert mean == pytest.approx(exact, abs=1e-12)


def test_truncated_es_misses_what_came_before_the_chunk():
    mean, exact = mean_over_noise(tb.TruncatedES, 3)
    assert abs(mean - exact) > 0.1 * abs(exact)
    assert mean == pytest.approx(truncated([4, 4, 4]), abs=1e-12)  # truncated backpropagation, on average


@thorough
@pytest.mark.parametrize("kind", [tb.PES, tb.NRES])
def test_particles_that_start_anew_miss_what_came_before(kind):
    """Anew after every two chunks of four steps: as if truncated to segments of eight, on average."""
    mean, exact = mean_over_noise(kind, 4, chunks=2)
    assert mean == pytest.approx(truncated([8, 8]), abs=1e-12)
    assert abs(mean - exact) > 0.1 * abs(exact)
    assert (kind.unbiased, kind().unbiased, kind(chunks=2).unbiased) == ("stream", "stream", "never")


def truncated(lengths):
    """The gradient of a stream's loss by backpropagation within chunks of such lengths."""
    model, params, carry, parts = tb.InfluenceBalancing().model(), {"theta": jnp.array(0.7)}, jnp.ones((1, 23)), []
    for length in lengths:
        batch = tb.InfluenceBalancing(length=length).batch(jax.random.key(0))
        estimate, carry = tb.Full()(model, params, carry, batch, None)
        parts.append(float(estimate.grads["theta"]) / len(lengths))
    return sum(parts)


def test_a_reset_forgets_the_noise_and_pes_adds_it_up():
    task = tb.InfluenceBalancing(length=3)
    model, params, batch = task.model(), {"theta": jnp.array(0.2)}, jax.jit(task.batch)(jax.random.key(0))
    est = tb.PES(0.1, 5)
    carry = est.init(model, params, batch, None)
    assert np.all(np.asarray(carry.vectors) == 0)
    noise = [np.asarray(est.draw(jax.random.key(i), params)) for i in (1, 2)]
    for i in (1, 2):
        _, carry = est(model, params, carry, batch, jax.random.key(i))
    assert np.allclose(carry.vectors, noise[0] + noise[1]) and carry.plus.shape == (5, 1, 23)

    anew = tb.PES(0.1, 5, chunks=2)  # after two chunks: from the unperturbed state, with new noise alone
    _, third = anew(model, params, carry, batch, jax.random.key(3))
    unperturbed = anew.init(model, params, batch, None)._replace(
        state=carry.state, plus=est.copies(carry.state), minus=est.copies(carry.state)
    )
    _, fresh = anew(model, params, unperturbed, batch, jax.random.key(3))
    apart = distance(third._replace(age=0), fresh._replace(age=0))
    assert apart < 1e-12 and set(fresh.age.tolist()) == {1} and set(third.age.tolist()) == {3}


def test_noise_has_its_spread_and_particles_differ():
    _, params, _ = problem("tanh")
    noise = np.asarray(tb.ES(0.2, 4000).draw(jax.random.key(0), params))
    assert abs(noise.std() / 0.2 - 1) < 5 / (2 * noise.size) ** 0.5  # false alarm below 1e-6
    assert abs(noise.mean()) < 5 * 0.2 / noise.size**0.5
    assert len(np.unique(noise[:, 0])) == 4000


def test_forward_gradients_along_all_axes_are_the_gradient():
    """With v the unit vectors, N of them, the sum of (∇L · v) v is the gradient: the formula without its chance."""
    model, params, batch = problem("lstm")
    flat, restore = jax.flatten_util.ravel_pytree(params)
    est = tb.ForwardGradient(len(flat))
    grads = jax.jit(lambda p: jax.grad(tb.loss, 1)(model, p, batch))(params)
    exact = jax.flatten_util.ravel_pytree(grads)[0]
    drawn = jax.random.normal(jax.random.key(9), (len(flat), len(flat)))
    ours, _ = jax.jit(lambda p: est(model, p, model.initial_state(p, 2), batch, jax.random.key(9)))(params)
    assert distance(ours.grads, restore((drawn @ exact) @ drawn / len(flat))) < 1e-12
    assert float(ours.loss) == pytest.approx(float(tb.loss(model, params, batch)), abs=1e-12)


def test_a_direction_that_is_kept_sees_the_whole_stream():
    """As above, of the gradient by parameters that the chunks before have had too; the first state is data."""
    network, params, batch = problem("lstm")

    class Begun(RNN):
        def initial_state(self, params, batch_size):
            start = super().initial_state(params, batch_size)
            return jax.tree.map(lambda leaf: leaf + 0.3 + jnp.sum(params["cell"]["W_hx"]), start)

    model = Begun(**{field.name: getattr(network, field.name) for field in fields(network)})
    batch = batch._replace(weights=jnp.ones_like(batch.weights))
    est, count, length = tb.Dodge(5), 3, len(batch.inputs) // 3

    @jax.jit
    def stream(params):
        carry, parts = est.init(model, params, batch, None), []
        for i in range(count):
            chunk = jax.tree.map(lambda leaf, i=i: leaf[i * length : (i + 1) * length], batch)
            estimate, carry = est(model, params, carry, chunk, jax.random.key(i))
            parts.append(jax.tree.map(lambda leaf: leaf / count, estimate.grads))
        return total(parts), carry.directions

    found, directions = stream(params)
    read = jax.tree.map(lambda leaf: leaf[: count * length], batch)
    exact, restore = jax.flatten_util.ravel_pytree(jax.jit(lambda p: jax.grad(tb.loss, 1)(model, p, read))(params))
    assert np.linalg.matrix_rank(directions) == 5  # those of the first key, kept
    assert distance(found, restore((directions @ exact) @ directions / 5)) < 1e-12
    alone = jax.random.normal(jax.random.key(0), directions.shape)
    assert distance(directions, alone) == 0


@pytest.mark.parametrize("reuse", [1, 2, 3])
def test_gpes_has_the_mean_of_the_whole_stream(reuse):
    mean, exact = mean_over_noise(tb.GPES, 3, reuse=reuse)
    assert mean == pytest.approx(exact, abs=1e-12)


@thorough
@pytest.mark.parametrize(("reuse", "other"), [(1, tb.PES), (10**6, tb.NRES)])
def test_the_ends_of_gpes_are_pes_and_nres(reuse, other):
    model, params, batch = problem("tanh")

    def stream(est):
        carry, parts = est.init(model, params, batch, None), []
        for i in range(4):
            estimate, carry = est(model, params, carry, batch, jax.random.key(i))
            parts.append(estimate.grads)
        return parts

    for ours, theirs in zip(stream(tb.GPES(0.1, 3, reuse=reuse)), stream(other(0.1, 3))):
        assert distance(ours, theirs) == 0


def test_unlocked_particles_start_anew_at_their_own_times():
    model, params, batch = problem("tanh")
    est = tb.NRES(0.1, 4, chunks=4, unlocked=True)
    carry, before = est.init(model, params, batch, None), None
    for i in range(8):
        _, carry = est(model, params, carry, batch, jax.random.key(i))
        changed = None if before is None else np.any(np.asarray(carry.vectors) != before, axis=1)
        before = np.asarray(carry.vectors)
        if changed is not None and i >= 4:
            assert changed.tolist() == [(i + place) % 4 == 0 for place in range(4)]
    assert np.all(np.any(before != 0, axis=1))
    with pytest.raises(tb.UserError, match="unlocked"):
        tb.PES(unlocked=True)
