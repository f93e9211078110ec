"""Learning online from one episode, against a loop that is written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.lab.online import learn_online, number_of_chunks
from tests.problems import distance

CHUNKS, LENGTH = 3, 4
MODEL = tb.rnn("tanh", inputs=2, hidden=3, outputs=2, loss="squared")
KEYS = jax.random.split(jax.random.key(5), 2)


def episode():
    inputs, targets = jax.random.normal(jax.random.key(0), (2, CHUNKS, LENGTH, 1, 2))
    return tb.Batch(inputs, targets)


def chunk(number):
    return jax.tree.map(lambda leaf: leaf[number % CHUNKS], episode())


@jax.jit
def truncated(params, state, batch):
    """The gradient of a chunk's loss from a state that is given, and the state after it."""

    def loss(params):
        def step(state, now):
            state = MODEL.step(params, state, now[0])
            return state, jnp.mean(MODEL.losses(MODEL.readout(params, state), now[1]))

        state_after, losses = jax.lax.scan(step, state, (batch.inputs, batch.targets))
        return jnp.mean(losses), state_after

    return jax.grad(loss, has_aux=True)(params)


def test_one_worker_is_truncated_backpropagation_with_the_state_carried():
    learned = learn_online(
        MODEL,
        tb.Full(),
        episode(),
        optax.sgd(0.1),
        workers=1,
        updates=8,
        evaluations=2,
        watch=lambda params: params["readout"]["W_qh"].sum(),
        seeds=KEYS,
    )
    for run, key in enumerate(KEYS):
        params = MODEL.init(jax.random.split(key)[0])
        for number in range(8):
            if number % CHUNKS == 0:
                state = MODEL.initial_state(params, 1)
            grads, state = truncated(params, state, chunk(number))
            params = jax.tree.map(lambda leaf, grad: leaf - 0.1 * grad, params, grads)
        last = jax.tree.map(lambda leaf, run=run: leaf[run, -1], learned.params)
        assert distance(last, params) < 1e-12
        assert np.isclose(learned.watched[run, -1], params["readout"]["W_qh"].sum())
    assert list(learned.updates) == [0, 4, 8]


def test_workers_stand_at_all_places_of_the_episode():
    """As many workers as chunks: with parameters that stand still, their mean is the mean over the chunks."""
    learned = learn_online(
        MODEL,
        tb.Full(),
        episode(),
        optax.sgd(1.0),
        workers=CHUNKS,
        updates=1,
        evaluations=1,
        watch=lambda params: 0.0,
        seeds=KEYS[:1],
    )
    first, last = (jax.tree.map(lambda leaf, at=at: leaf[0, at], learned.params) for at in (0, 1))
    state, gradients = MODEL.initial_state(first, 1), []
    for number in range(CHUNKS):
        grads, state = truncated(first, state, chunk(number))
        gradients.append(grads)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / CHUNKS, *gradients)
    assert distance(jax.tree.map(lambda a, b: a - b, first, last), mean) < 1e-12


@pytest.mark.parametrize("rate", [np.inf, np.nan])
def test_an_update_that_is_not_finite_is_not_made(rate):
    learned = learn_online(
        MODEL,
        tb.Full(),
        episode(),
        optax.sgd(rate),
        workers=1,
        updates=2,
        evaluations=1,
        watch=lambda params: 0.0,
        seeds=KEYS[:1],
    )
    first, last = (jax.tree.map(lambda leaf, at=at: leaf[0, at], learned.params) for at in (0, 1))
    assert distance(first, last) == 0


def test_what_is_learned_outlives_the_episode():
    """Adaptive truncation has seen as many chunks as there were updates, over three episodes."""
    seen = []

    class Watched(tb.Adaptive):
        name = "watched"

        def choice(self, carry):
            jax.debug.callback(lambda chunks: seen.append(int(chunks)), carry.chunks)
            return super().choice(carry)

    options = {"workers": 1, "updates": 9, "evaluations": 1, "watch": lambda params: 0.0, "seeds": KEYS[:1]}
    learn_online(MODEL, Watched(0.1, longest=4), episode(), optax.sgd(0.1), **options)
    jax.effects_barrier()
    assert max(seen) == 9


def test_updates_and_unrolls_that_do_not_fit_are_refused():
    options = {"workers": 1, "evaluations": 40, "watch": lambda params: 0.0, "seeds": KEYS[:1]}
    with pytest.raises(tb.UserError, match="updates: a multiple of the 40 evaluations is needed, got 30"):
        learn_online(MODEL, tb.Full(), episode(), optax.sgd(0.1), updates=30, **options)
    with pytest.raises(tb.UserError, match="unroll: a divisor of the 100 steps is needed, got 30"):
        number_of_chunks(100, 30)
