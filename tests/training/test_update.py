"""One update against a loop written by hand: episodes, streams, random segments, divergence."""

from dataclasses import dataclass, replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.models import Batch
from tbptt_jax.training.update import begin, first_cut, frozen_where_not_finite, update
from tests.problems import distance
from tests.tiers import cases, thorough

STEPS = 4


def trained(model, est, task, optimizer, steps=STEPS, seed=0):
    """The run before every update, and after the last."""
    runs = [jax.jit(lambda key: begin(model, est, task, optimizer, key))(jax.random.key(seed))]
    step = jax.jit(lambda run: frozen_where_not_finite(run, update(model, est, task, optimizer, run)))
    for _ in range(steps):
        runs.append(step(runs[-1]))
    return runs


def test_episodes_start_from_an_empty_state():
    task, optimizer = tb.Recall(distance=3, batch_size=2), optax.adam(0.1)
    model = task.model("tanh", 3)
    runs = trained(model, tb.Full(), task, optimizer)
    params, state = runs[0].params, optimizer.init(runs[0].params)
    gradient = jax.jit(jax.grad(tb.loss, argnums=1), static_argnums=0)
    for run in runs[:-1]:
        batch, _, _ = task.chunk(run.source)
        changes, state = optimizer.update(gradient(model, params, batch), state)
        params = optax.apply_updates(params, changes)
    assert distance(params, runs[-1].params) < 1e-12
    assert int(runs[-1].updates) == STEPS and int(runs[-1].seen) == STEPS * 4


@thorough
@pytest.mark.parametrize("est", cases([tb.Segment(tau=2), tb.UORO(), tb.DNI(tau=2)], lambda est: est.learns), ids=str)
def test_a_stream_without_an_end_is_read_as_if_each_chunk_were_asked_whether_it_starts_anew(est):
    @dataclass(frozen=True)
    class Asked(tb.Copy):
        endless = False

    task = tb.Copy(length=4, batch_size=2, longest=3)
    model, optimizer = task.model("tanh", 3), optax.adam(0.1)
    unasked, asked = (
        trained(model, est, kind, optimizer)[-1] for kind in (task, Asked(length=4, batch_size=2, longest=3))
    )
    assert task.endless and distance(unasked.params, asked.params) == 0 and distance(unasked.carry, asked.carry) == 0


def test_streams_carry_the_state_and_start_anew_where_the_task_says_so():
    @dataclass(frozen=True)
    class Counted(tb.Copy):
        """Every third chunk begins a new stream."""

        def start(self, key):
            return super().start(key)[0], jnp.array(True), jnp.array(0)

        def chunk(self, source, steps=None):
            readings, _, count = source
            batch, _, (readings, _) = super().chunk((readings, count), steps)
            return batch, count % 3 == 0, (readings, count, count + 1)

    task = Counted(length=5, batch_size=2, longest=3)
    model, optimizer = task.model("lstm", 3), optax.sgd(0.5)
    runs = trained(model, tb.Full(), task, optimizer, steps=5)

    @jax.jit
    def by_hand(params, carry, batch):
        def loss(params):
            def step(state, x_and_y):
                state = model.step(params, state, x_and_y[0])
                return state, model.losses(model.readout(params, state), x_and_y[1])

            final, losses = jax.lax.scan(step, carry, (batch.inputs, batch.targets))
            return jnp.mean(losses), final

        grads, carry = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), carry

    assert not task.endless and tb.Copy().endless
    params, carry, read = runs[0].params, None, jax.jit(task.chunk)
    for count, run in enumerate(runs[:-1]):
        if count % 3 == 0:
            carry = model.initial_state(params, 2)
        params, carry = by_hand(params, carry, read(run.source)[0])
    assert distance((params, carry), (runs[-1].params, runs[-1].carry)) < 1e-12


@thorough
def test_random_segments_one_update_each():
    """Segment by segment as one would write it: the segment alone, its products of gates, its sum of losses."""
    task = tb.Copy(length=9, batch_size=3, longest=3)
    model, optimizer, est = task.model("tanh", 3), optax.sgd(0.3), tb.ARTBP(2.5, 3.0)
    runs = trained(model, est, task, optimizer, steps=5)
    params, carry, readings = runs[0].params, runs[0].carry, runs[0].source
    survival = [1.0]
    for d in range(1, 9):
        survival.append(survival[-1] * (1 - est.cut_probability(d)))
    lengths, read = [], jax.jit(task.chunk)
    for run, after in pairwise(runs):
        _, _, estimate_key = jax.random.split(run.key, 3)
        gates = np.asarray(replace(est, shared=True).gates(estimate_key, 9, 1))[:, 0]
        length = next((t for t in range(1, 9) if gates[t] == 0), 9)
        lengths.append(length)
        batch = jax.tree.map(lambda leaf, n=length: leaf[:n], read(readings, 9)[0])

        def total(params, batch=batch, gates=gates, carry=carry):
            state, losses = carry, 0.0
            for t in range(len(batch.targets)):
                held = jax.lax.stop_gradient(state)
                state = model.step(params, held + gates[t] * (state - held), batch.inputs[t])
                losses += jnp.mean(model.losses(model.readout(params, state), batch.targets[t]))
            return losses, state

        grads, carry = jax.jit(jax.grad(total, has_aux=True))(params)
        params = jax.tree.map(lambda p, g: p - 0.3 * g / sum(survival), params, grads)
        assert distance((params, carry), (after.params, after.carry)) < 1e-12
        for _ in range(length):
            _, _, readings = read(readings, 1)
        assert int(after.seen - run.seen) == length
        assert distance(readings[0].position, after.source[0].position) == 0
    assert len(set(lengths)) > 2


def test_where_a_segment_ends_and_how_long_it_is_on_average():
    assert int(first_cut(jnp.array([0.0, 1.2, 1.1, 0.0, 0.0]))) == 3
    assert int(first_cut(jnp.array([0.0, 1.2, 1.1]))) == 3
    est = tb.ARTBP(4.0, 3.0)
    assert float(est.law(5000).mean_length()) == pytest.approx(4.0, abs=1e-4)
    cut = [est.cut_probability(d) for d in (1, 2)]
    by_hand = cut[0] + 2 * (1 - cut[0]) * cut[1] + 3 * (1 - cut[0]) * (1 - cut[1])
    assert float(est.law(3).mean_length()) == pytest.approx(by_hand, abs=1e-12)


def test_a_run_that_diverges_is_frozen_at_its_step():
    task = tb.InfluenceBalancing(length=10)
    model, optimizer = task.model(), optax.sgd(1e60)
    runs = trained(model, tb.Full(), task, optimizer, steps=8)
    params, carry, finite = runs[0].params, runs[0].carry, 0
    batch = jax.jit(task.batch)(jax.random.key(0))
    one = jax.jit(lambda params, carry: tb.Full()(model, params, carry, batch, None))
    while True:
        estimate, carry = one(params, carry)
        after = jax.tree.map(lambda p, g: p - 1e60 * g, params, estimate.grads)
        if not np.isfinite(after["theta"]) or not np.isfinite(estimate.loss):
            break
        params, finite = after, finite + 1
    assert 0 < finite < 7
    assert [int(run.diverged_at) for run in runs] == [-1] * (finite + 1) + [finite] * (8 - finite)
    assert all(np.isfinite(leaf).all() for run in runs for leaf in jax.tree.leaves((run.params, run.loss)))
    assert distance(runs[-1].params["theta"] / 1e60, params["theta"] / 1e60) < 1e-6 * abs(params["theta"]) / 1e60
    assert int(runs[-1].updates) == finite and distance(runs[-1].carry, runs[finite].carry) == 0


def test_weights_of_a_loss_at_the_end_reach_the_update():
    task = tb.Recall(distance=2, batch_size=2)
    model = task.model("linear", 3)
    runs = trained(model, tb.Full(), task, optax.sgd(0.1), steps=1)
    batch, _, _ = task.chunk(runs[0].source)
    last = tb.loss(model, runs[0].params, Batch(batch.inputs, batch.targets, batch.weights))
    assert float(runs[1].loss) == pytest.approx(float(last), abs=1e-12)
    assert float(last) != pytest.approx(float(tb.loss(model, runs[0].params, batch._replace(weights=None))), abs=1e-6)
