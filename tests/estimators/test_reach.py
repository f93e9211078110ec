"""Random cuts whose credit crosses the chunks of a stream, as far back as `reach`."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.critics import Linear
from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.tasks import AnBn
from tests.problems import QUICK, distance, problem
from tests.tiers import cases, thorough

CHUNK, CHUNKS = 2, 3


@dataclass(frozen=True)
class Given(GatedEstimator):
    """Gates that stand in a list, from the first step of a sequence on."""

    values: Any = None
    unbiased = "never"
    reference = "this test"

    def gates(self, key, length, batch_size):
        return jnp.broadcast_to(self.values[:length, None], (length, batch_size))


def pieces(batch):
    return [jax.tree.map(lambda leaf, i=i: leaf[i * CHUNK : (i + 1) * CHUNK], batch) for i in range(CHUNKS)]


def on_stream(est, model, params_of, parts):
    """The estimates of all chunks, each under its own parameters."""
    carry = est.init(model, params_of(0), parts[0], None)
    for i, part in enumerate(parts):
        estimate, carry = est(model, params_of(i), carry, part, None)
        yield estimate.grads


def a_stream(name):
    model, params, batch = problem(name, length=CHUNK * CHUNKS)
    batch = batch._replace(weights=batch.weights + 0.1)
    return model, params, batch, lambda i: jax.tree.map(lambda leaf: leaf * (1 + 0.1 * i), params)


@thorough
@pytest.mark.parametrize("name", cases(["tanh", "lstm", "nnx"], QUICK))
def test_gates_go_on_across_chunks_from_the_first_step_there_was(name):
    model, params, batch, _ = a_stream(name)
    gates = jnp.linspace(0.3, 1.4, CHUNK * (2 * CHUNKS - 1) + 1)
    est = Given(values=gates, reach=CHUNK * (CHUNKS - 1) + 1)  # there is room for more than there is
    found = jax.jit(lambda: list(on_stream(est, model, lambda i: params, pieces(batch))))()
    for i, ours in enumerate(found):
        inside = (jnp.arange(CHUNK * CHUNKS) // CHUNK == i)[:, None]
        theirs = tb.gradient(Given(values=gates), model, params, batch._replace(weights=batch.weights * inside))
        assert distance(ours, theirs) < 1e-12, i


def all_patterns(est, length):
    """Every pattern of gates that a law allows `[2^(T-1), T]`, and how likely it is."""
    law = est.law(length)
    for cuts in product([False, True], repeat=length - 1):
        age, gates, probability = 1, [1.0], 1.0
        for cut in cuts:
            of_cut = float(law.cut[age - 1]) if hasattr(law, "cut") else 1 - est.keep
            gates.append(0.0 if cut else 1 / (1 - of_cut))
            probability *= of_cut if cut else 1 - of_cut
            age = 1 if cut else age + 1
        yield np.array(gates), probability


@pytest.mark.parametrize("est", cases([tb.Randomized(0.7), tb.ARTBP(2.0)], [tb.ARTBP(2.0)]), ids=str)
@pytest.mark.parametrize("reach", cases([1, 3], [3]))
def test_the_mean_is_the_gradient_of_all_that_is_in_reach(est, reach):
    """Over all patterns of gates, under parameters that move from chunk to chunk."""
    model, _, batch, params_of = a_stream("tanh")
    gates, probabilities = map(np.array, zip(*all_patterns(est, reach + CHUNK)))
    assert abs(probabilities.sum() - 1) < 1e-12

    def last(values):
        return list(on_stream(Given(values=values, reach=reach), model, params_of, pieces(batch)))[-1]

    estimates = jax.jit(jax.vmap(last))(jnp.asarray(gates))
    mean = jax.tree.map(lambda leaf: jnp.tensordot(probabilities, leaf, 1), estimates)
    exact_and_short = tb.Rolling(reach + CHUNK, CHUNK), tb.Full()
    of_last = jax.jit(lambda: [list(on_stream(est, model, params_of, pieces(batch)))[-1] for est in exact_and_short])
    exact, nothing_before = of_last()
    assert distance(mean, exact) < 1e-12
    assert distance(mean, nothing_before) > 1e-3


def test_a_new_stream_is_the_estimator_without_reach():
    model, params, batch, _ = a_stream("gru")
    gates = jnp.linspace(0.3, 1.4, CHUNK * CHUNKS)
    near, far = Given(values=gates), Given(values=jnp.concatenate([gates, gates]), reach=4)
    assert distance(tb.gradient(near, model, params, batch), tb.gradient(far, model, params, batch)) < 1e-12


@thorough
def test_resets_stop_credit_and_gates_that_look_at_inputs_see_the_steps_before():
    model, params, batch, _ = a_stream("tanh")
    resets = jnp.zeros(batch.weights.shape, bool).at[2 * CHUNK].set(True)
    est = Given(values=jnp.ones(9), reach=3)
    parts = pieces(batch._replace(resets=resets))
    *_, last = on_stream(est, model, lambda i: params, parts)
    alone = tb.gradient(tb.Full(), model, params, pieces(batch)[-1])
    assert distance(last, alone) < 1e-12

    @dataclass(frozen=True)
    class Looking(GatedEstimator):
        unbiased = "never"
        reference = "this test"
        sees_inputs = True

        def gates(self, key, length, batch_size, inputs):
            return jax.nn.sigmoid(inputs[..., 0])

    @dataclass(frozen=True)
    class LookingAtStates(GatedEstimator):
        unbiased = "never"
        reference = "this test"
        sees_states = True

        def gates(self, key, length, batch_size, states):
            return jax.nn.sigmoid(3 * states[..., 0])

    inside = (jnp.arange(CHUNK * CHUNKS) // CHUNK == CHUNKS - 1)[:, None]
    for est in (Looking(), LookingAtStates()):
        *_, ours = on_stream(replace(est, reach=4), model, lambda i: params, pieces(batch))
        theirs = tb.gradient(est, model, params, batch._replace(weights=batch.weights * inside))
        assert distance(ours, theirs) < 1e-12


@thorough
def test_it_is_trained_in_whole_chunks():
    est = tb.ARTBP(4.0, reach=8)
    assert est.pace(8) == (8, 8.0) and tb.ARTBP(4.0).pace(8).steps_an_update < 8
    assert not est.updates_at_cuts and tb.ARTBP(4.0).updates_at_cuts
    assert est.states_alive(8) == 16
    task = AnBn(most=4, length=8, batch_size=2)
    history = tb.train(task.model("tanh", 4), est, task, optax.sgd(0.1), steps=4, key=jax.random.key(0), evaluations=1)
    assert np.isfinite(history.held_out).all()


def test_what_cannot_be_is_named():
    model, params, batch, _ = a_stream("tanh")
    for est, words in (
        (tb.Randomized(0.5, reach=-1), "randomized: reach must be a whole number of at least 0, got -1"),
        (tb.Randomized(0.5, reach=2, states=4), "reach=2 keeps all states and learns nothing; leave states out"),
        (tb.Randomized(0.5, reach=2, parallel=True), "leave parallel out"),
        (tb.Randomized(0.5, reach=2, critic=Linear()), "leave critic out"),
    ):
        with pytest.raises(tb.UserError, match=words):
            est.init(model, params, batch, None)
    with pytest.raises(tb.UserError, match="a scan has no chunks before it"):
        tb.scan(
            lambda h, x: (h + x, h), 0.0, jnp.ones(4), truncation=tb.Randomized(0.5, reach=2), key=jax.random.key(0)
        )
    with pytest.raises(tb.UserError, match="leave reach out"):
        tb.Segment(4, in_order=True, reach=2)
    assert replace(tb.Randomized(0.5), reach=2) == tb.make_estimator("randomized(keep=0.5, reach=2)")
