"""Rolling truncation: the same as a loop of plain `jax.grad` that replays what came before."""

import jax
import jax.numpy as jnp
import pytest

import tbptt_jax as tb
from tests.problems import EVERY_MODEL, distance, problem
from tests.tiers import cases, thorough

CHUNKS = 4


def by_hand(model, params_of, batch, k1, k2):
    """The gradient of each chunk of k2 steps, by its own parameters: no engine, no scan."""
    steps = batch.inputs.shape[0]
    state, first = model.initial_state(params_of(0), batch.inputs.shape[1]), 0  # the state before step `first`
    for chunk in range(steps // k2):
        start, stop = chunk * k2, (chunk + 1) * k2

        def loss(params, state=state, first=first, start=start, stop=stop):
            total = 0.0
            for t in range(first, stop):
                state = model.step(params, state, batch.inputs[t])
                if t >= start:
                    losses = model.losses(model.readout(params, state), batch.targets[t])
                    total += jnp.sum(batch.weights[t] * losses)
            return total / jnp.sum(batch.weights[start:stop])

        yield jax.grad(loss)(params_of(chunk))
        new_first = max(0, stop - (k1 - k2))
        for t in range(first, new_first):
            state = model.step(params_of(chunk), state, batch.inputs[t])
        first = new_first


def of_lstm(case):
    return case[0] == "lstm"


STREAMS = [("tanh", 7, 3), ("tanh", 3, 3), ("lstm", 5, 2), ("gru", 9, 2), ("nnx", 4, 1)]


@pytest.mark.parametrize("name, k1, k2", cases(STREAMS, of_lstm))
def test_a_stream_under_changing_parameters_is_that_of_a_loop_by_hand(name, k1, k2):
    model, params, batch = problem(name, length=CHUNKS * k2)
    batch = batch._replace(weights=batch.weights + 0.1)

    def params_of(chunk):
        return jax.tree.map(lambda leaf: leaf * (1 + 0.1 * chunk), params)

    est = tb.Rolling(k1, k2)
    parts = [jax.tree.map(lambda leaf, i=i: leaf[i * k2 : (i + 1) * k2], batch) for i in range(CHUNKS)]
    carry = est.init(model, params, parts[0], None)
    estimate = jax.jit(lambda params, carry, part: est(model, params, carry, part, None))
    expected = jax.jit(lambda batch: list(by_hand(model, params_of, batch, k1, k2)))(batch)
    for i, theirs in enumerate(expected):
        found, carry = estimate(params_of(i), carry, parts[i])
        assert distance(found.grads, theirs) < 1e-12, i


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_within_one_sequence_it_is_buffered(name):
    lengths = ((4, 2), (11, 6), (1, 1), (6, 3), (3, 3), (20, 6))[: 6 if name == "tanh" else 2]
    pairs = [(tb.Rolling(k1, k2), tb.Buffered(k1, k2)) for k1, k2 in lengths]
    model, params, batch = problem(name)

    @jax.jit
    def estimated(params):
        return [
            [est(model, params, est.init(model, params, batch, None), batch, None)[0].grads for est in pair]
            for pair in pairs
        ]

    for (est, _), (ours, theirs) in zip(pairs, estimated(params)):
        assert distance(ours, theirs) < 1e-12, str(est)


def test_a_new_stream_remembers_nothing():
    model, params, batch = problem("tanh")
    est = tb.Rolling(8, 6)
    fresh = est.init(model, params, batch, None)
    _, carry = est(model, params, fresh, batch, None)
    assert jnp.all(carry.there) and not jnp.any(fresh.there)
    again = est.restart(model, params, carry, batch, None)
    assert distance(jax.tree.map(lambda leaf: leaf * 1.0, again), jax.tree.map(lambda leaf: leaf * 1.0, fresh)) == 0


def test_it_is_trained_in_chunks_of_k2_steps():
    est = tb.Rolling(19, 10)
    assert est.pace(64) == (10, 10.0) and tb.Rolling.of_length(10) == est and est.nominal_length == 10
    with pytest.raises(tb.UserError, match="rolling: k1 must be at least k2 = 4, got 2"):
        tb.Rolling(2, 4)


@pytest.mark.parametrize("name, tau, every", cases([("tanh", 4, 3), ("lstm", 6, 2), ("gru", 5, 1)], [("tanh", 4, 3)]))
def test_adaptive_rolling_of_one_length_is_rolling(name, tau, every):
    model, params, batch = problem(name, length=CHUNKS * every)
    batch = batch._replace(weights=batch.weights + 0.1)
    ests = tb.AdaptiveRolling(0.1, longest=tau, shortest=tau, every=every), tb.Rolling(tau + every - 1, every)
    parts = [jax.tree.map(lambda leaf, i=i: leaf[i * every : (i + 1) * every], batch) for i in range(CHUNKS)]
    carries = [est.init(model, params, parts[0], None) for est in ests]

    @jax.jit
    def both(carries, part):
        return tuple(zip(*(est(model, params, carry, part, None) for est, carry in zip(ests, carries))))

    for i, part in enumerate(parts):  # with parameters that stand still: the one runs more steps again than the other
        found, carries = both(carries, part)
        assert distance(found[0].grads, found[1].grads) < 1e-12, i


@thorough
def test_adaptive_rolling_measures_lags_across_chunks_and_chooses_by_them():
    """Of the last of three chunks, with the same parameters: the norms are those of its losses in the whole stream."""
    every, longest = 3, 5
    model, params, batch = problem("tanh", length=3 * every)
    params = params | {"cell": params["cell"] | {"W_hh": 0.3 * params["cell"]["W_hh"]}}  # so that credit fades
    batch = batch._replace(weights=batch.weights + 0.1)
    est = tb.AdaptiveRolling(0.1, longest=longest, every=every, memory=0.0)
    parts = [jax.tree.map(lambda leaf, i=i: leaf[i * every : (i + 1) * every], batch) for i in range(3)]
    carry = est.init(model, params, parts[0], None)
    for part in parts:
        _, carry = est(model, params, carry, part, None)
    weights = batch.weights.at[: 2 * every].set(0.0)
    exact = tb.exact.lag_spectrum(model, params, batch._replace(weights=weights)).norms
    assert jnp.max(jnp.abs(carry.norms.lag - exact[:longest])) < 1e-12
    taus = [int(type(est)(delta, longest=longest, every=every).choice(carry.norms).tau) for delta in (1e-9, 0.3, 1e9)]
    assert taus[0] == longest and sorted(taus, reverse=True) == taus and taus[-1] == 1


def test_adaptive_rolling_makes_an_update_every_few_steps():
    est = tb.AdaptiveRolling(0.1, every=7)
    assert est.pace(64) == (7, 7.0) and est.states_alive(7) == 39
    with pytest.raises(tb.UserError, match="every"):
        tb.AdaptiveRolling(0.1, every=0)


@thorough
@pytest.mark.parametrize("name, tau, every", cases([("tanh", 4, 2), ("lstm", 5, 3)], of_lstm))
def test_adaptive_rolling_of_a_long_chunk_goes_through_it_in_pieces(name, tau, every):
    model, params, batch = problem(name, length=4 * every)
    batch = batch._replace(weights=batch.weights + 0.1)
    est = tb.AdaptiveRolling(0.1, longest=tau, shortest=tau, every=every)
    whole = tb.gradient(est, model, params, batch)
    assert distance(whole, tb.gradient(tb.Rolling(tau + every - 1, every), model, params, batch)) < 1e-12
    assert distance(whole, tb.gradient(tb.Full(), model, params, batch)) > 1e-6


def test_few_states_are_for_scans_alone():
    model, params, batch = problem("tanh")
    with pytest.raises(tb.UserError, match=r"rolling: states=2 is for tb\.scan and tb\.truncate"):
        tb.gradient(tb.Rolling(4, 2, states=2), model, params, batch)
    step = lambda h, x: (jnp.tanh(h + x), h)  # noqa: E731
    few, all_states = (
        jax.grad(lambda w, s=states: jnp.sum(tb.scan(step, w, batch.inputs, truncation=tb.Rolling(4, 2, states=s))[1]))
        for states in (2, None)
    )
    assert distance(few(batch.inputs[0]), all_states(batch.inputs[0])) < 1e-12
