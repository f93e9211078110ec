"""Critics: unbiased for any of them, exact where they are exact, and what they learn."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.critics import MLP, Critic, Features, Linear, Network
from tbptt_jax.estimators.base import warmed_up
from tbptt_jax.estimators.predicted import Fitted, flat
from tests.problems import BATCH, LENGTH, QUICK, distance, full_gradient, problem
from tests.tiers import cases, thorough

KEEP = 0.6


@dataclass(frozen=True, kw_only=True)
class Arbitrary(Critic):
    """Predictions that have nothing to do with any credit."""

    def init(self, size, dtype):
        return jax.random.normal(jax.random.key(5), (size, size), dtype)

    def predict(self, learned, states):
        return jnp.cos(states @ learned) + 0.3

    def fit(self, learned, states, credits):
        return learned


@dataclass(frozen=True)
class Given(tb.GatedEstimator):
    """Gates that are given, `[T]` or `[T, B]`."""

    values: jax.Array
    unbiased = "chunk"

    def gates(self, key, length, batch_size):
        return jnp.broadcast_to(self.values.reshape(length, -1), (length, batch_size))


@partial(jax.jit, static_argnames=("name", "critic"))
def by_hand(name, critic, gates):
    """δ_{t−1} = e_{t−1} + s_{t−1} + gate_t (J_tᵀ δ_t − s_{t−1}), a step after the other, with one `jax.vjp` each."""
    model, params, batch = problem(name)
    state = model.initial_state(params, BATCH)
    total, states = jnp.sum(batch.weights), []
    for x in batch.inputs:
        states.append(state)
        state = model.step(params, state, x)
    states.append(state)

    def own(params, state, t):
        losses = model.losses(model.readout(params, state), batch.targets[t])
        return jnp.sum(batch.weights[t] * losses) / total

    def predicted(state):
        rows = flat(jax.tree.map(lambda leaf: leaf[None], state))[0]
        learned = critic.init(rows.shape[1], rows.dtype)
        return jax.vmap(lambda row: critic.predict(learned, row[None])[0])(rows) / total

    def as_state(rows):
        one = jax.tree.map(lambda leaf: leaf[0], states[0])
        return jax.vmap(ravel_pytree(one)[1])(rows)

    zero = jax.tree.map(jnp.zeros_like, states[0])
    credit = as_state(predicted(states[-1])) if critic.beyond else zero
    grads = jax.tree.map(jnp.zeros_like, params)
    for t in reversed(range(LENGTH)):
        readout, e = jax.grad(own, (0, 1))(params, states[t + 1], t)
        delta = jax.tree.map(jnp.add, e, credit)
        through, back = jax.vjp(lambda p, h, t=t: model.step(p, h, batch.inputs[t]), params, states[t])[1](delta)
        grads = jax.tree.map(lambda *leaves: sum(leaves), grads, readout, through)
        s = as_state(predicted(states[t]))
        credit = jax.tree.map(lambda s, b, t=t: s + gates[t][:, None] * (b - s), s, back)
    return grads


@pytest.mark.parametrize("beyond", cases([False, True], [True]), ids=["within", "beyond"])
@pytest.mark.parametrize("name", cases(["tanh", "lstm", "two layers"], QUICK))
def test_the_recursion_is_that_of_its_definition(name, beyond):
    model, params, batch = problem(name)
    critic = Arbitrary(beyond=beyond)
    gates = jax.random.uniform(jax.random.key(1), (LENGTH, BATCH)) * 2
    ours = tb.gradient(Given(gates, critic=critic), model, params, batch)
    assert distance(ours, by_hand(name, critic, gates)) < 1e-12
    segments = tb.gradient(tb.Segment(4, 1, critic=critic), model, params, batch)  # blocks side by side
    assert distance(segments, by_hand(name, critic, tb.Segment(4, 1).gates(None, LENGTH, BATCH))) < 1e-12


def over_all_patterns(name, critic):
    """Probabilities and flat gradients of all gates of `randomized`, the same for all sequences."""
    model, params, batch = problem(name)
    kept = np.array(list(product([0, 1], repeat=LENGTH - 1)))
    probabilities = np.prod(np.where(kept, KEEP, 1 - KEEP), axis=1)
    gates = np.concatenate([np.ones((len(kept), 1)), kept / KEEP], axis=1)

    def one(gates):
        est = Given(gates, critic=critic)
        return ravel_pytree(est(model, params, est.init(model, params, batch, None), batch, None)[0].grads)[0]

    return probabilities, np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(gates)))


@pytest.mark.parametrize("name", cases(["tanh", "gru", "lstm", "two layers"], QUICK))
def test_any_critic_leaves_the_mean_alone_and_its_variance_is_known(name):
    model, params, batch = problem(name)
    probabilities, found = over_all_patterns(name, Arbitrary())
    mean = probabilities @ found
    assert np.max(np.abs(mean - ravel_pytree(full_gradient(name))[0])) < 1e-12
    variance = probabilities @ np.sum((found - mean) ** 2, axis=1)
    est = tb.Randomized(KEEP, shared=True, critic=Arbitrary())
    assert abs(tb.exact.variance(est, model, params, batch) - variance) < 1e-10 * variance
    without = tb.exact.variance(replace(est, critic=None), model, params, batch)
    assert abs(without - variance) > 1e-3 * variance  # the critic matters


def test_the_variance_of_a_critic_that_stands_for_later_chunks():
    model, params, batch = problem("lstm")
    probabilities, found = over_all_patterns("lstm", Arbitrary(beyond=True))
    mean = probabilities @ found
    est = tb.Randomized(KEEP, shared=True, critic=Arbitrary(beyond=True))
    assert np.max(np.abs(ravel_pytree(tb.exact.expected_gradient(est, model, params, batch))[0] - mean)) < 1e-12
    variance = probabilities @ np.sum((found - mean) ** 2, axis=1)
    assert abs(tb.exact.variance(est, model, params, batch) - variance) < 1e-10 * variance
    assert (est.unbiased, tb.Randomized(KEEP, critic=Arbitrary()).unbiased) == ("never", "chunk")


def test_gates_drawn_for_each_sequence_add_their_variances():
    model, params, batch = problem("tanh")
    est = tb.Randomized(KEEP, critic=Arbitrary())
    whole = tb.exact.variance(est, model, params, batch)
    parts = 0.0
    for b in range(BATCH):
        alone = jax.tree.map(lambda leaf, b=b: leaf[:, b : b + 1], batch)
        share = jnp.sum(alone.weights) / jnp.sum(batch.weights)
        parts += share**2 * tb.exact.variance(est, model, params, alone)
    assert abs(whole - parts) < 1e-12 * whole


def steady():
    """(model, params, batch, exact credit): h_t = W h_{t−1}, a loss ⟨c, h_t⟩ at every step for ever."""
    w = 0.4 * jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    c = jnp.asarray([1.0, -2.0, 0.5])
    model = tb.model(
        lambda key: w,
        lambda params, batch_size: jnp.ones((batch_size, 3)),
        lambda params, state, x: state @ params.T,
        lambda params, state: state,
        lambda output, target: output @ c,
    )
    batch = tb.Batch(jnp.zeros((5, 2)), jnp.zeros((5, 2)))
    return model, w, batch, jnp.linalg.solve(jnp.eye(3) - w.T, w.T @ c)


@dataclass(frozen=True, kw_only=True)
class Constant(Critic):
    value: tuple = ()

    def init(self, size, dtype):
        return jnp.asarray(self.value, dtype)

    def predict(self, learned, states):
        return jnp.broadcast_to(learned, states.shape)

    def fit(self, learned, states, credits):
        return learned


def test_it_is_exact_where_the_critic_is_exact():
    model, w, batch, credit = steady()
    critic = Constant(value=tuple(credit.tolist()), beyond=True)
    exact = tb.gradient(tb.Full(critic=critic), model, w, batch)
    for est in (tb.Segment(1, critic=critic), tb.Segment(2, "random", critic=critic), tb.Geometric(0.3, critic=critic)):
        assert distance(tb.gradient(est, model, w, batch, jax.random.key(3)), exact) < 1e-12, est
    assert tb.exact.variance(tb.Randomized(0.5, critic=critic), model, w, batch) < 1e-24


def test_a_synthetic_gradient_learns_the_credit_of_all_that_is_to_come():
    """Of segments of one step, from bootstrapped credit alone."""
    model, w, batch, credit = steady()
    est = tb.DNI(1, critic=Linear(beyond=True, memory=0.8, ridge=1e-9))
    learned = jax.jit(lambda: warmed_up(est, model, w, batch, None, 300))().critic
    states = jnp.ones((1, 3)) @ w.T
    assert np.max(np.abs(est.critic.predict(learned, states) - credit)) < 1e-6


@dataclass(frozen=True, kw_only=True)
class Listening(Constant):
    """Keeps the sum of the states that it is shown, and how many they were."""

    def init(self, size, dtype):
        return jnp.zeros((), dtype), jnp.zeros((), int)

    def predict(self, learned, states):
        return jnp.zeros_like(states)

    def fit(self, learned, states, credits):
        return jnp.sum(states), jnp.asarray(len(states))


@pytest.mark.parametrize("beyond", [False, True])
def test_it_learns_from_states_that_parameters_have_led_to(beyond):
    """Of a chunk's first state only where a critic stood for this chunk at the end of the one before."""
    model, w, batch, _ = steady()
    est = tb.Segment(2, critic=Listening(beyond=beyond))
    total, count = est(model, w, est.init(model, w, batch, None), batch, None)[1].critic
    states = [jnp.ones((2, 3))]
    for _ in range(4):
        states.append(states[-1] @ w.T)
    assert int(count) == (10 if beyond else 8)
    assert float(total) == pytest.approx(float(jnp.sum(jnp.stack(states[0 if beyond else 1 :]))), abs=1e-12)


def test_a_chunk_of_one_step_teaches_nothing():
    model, w, batch, _ = steady()
    one = jax.tree.map(lambda leaf: leaf[:1], batch)
    est = tb.Randomized(0.5, critic=Linear())
    carry = est.init(model, w, one, None)
    assert distance(est(model, w, carry, one, jax.random.key(0))[1].critic, carry.critic) == 0


def test_least_squares():
    draw = np.random.default_rng(1)
    states, credits = draw.normal(size=(50, 4)), draw.normal(size=(50, 4))
    critic = Linear(memory=0.5, ridge=1e-6)
    learned = critic.init(4, jnp.float64)
    assert not critic.predict(learned, jnp.asarray(states)).any()
    for part in (slice(0, 20), slice(20, 50)):
        learned = critic.fit(learned, *(jnp.asarray(part_of[part]) for part_of in (states, credits)))
    counts = np.sqrt(np.where(np.arange(50) < 20, 0.5, 1.0))[:, None]
    rows = np.concatenate([states, np.ones((50, 1))], axis=1) * counts
    ridge = 1e-6 * np.trace(rows.T @ rows) / 5
    expected = np.linalg.solve(rows.T @ rows + ridge * np.eye(5), rows.T @ (credits * counts))
    assert np.max(np.abs(learned.weights - expected)) < 1e-12


@pytest.mark.parametrize(
    "critic",
    [
        Linear(),
        Features(count=20),
        MLP(width=16, rate=0.03),
        Network(make=linen.Dense(3).init, apply=linen.Dense(3).apply, rate=0.03),
    ],
    ids=lambda critic: critic.name,
)
def test_critics_learn_what_can_be_known(critic):
    """A credit that is linear in the state."""
    wanted = jnp.asarray([[1.0, 0.5, 0.0], [0.0, -1.0, 0.0], [0.3, 0.0, 2.0]])
    states = jax.random.normal(jax.random.key(0), (600, 40, 3))

    def see(learned, states):
        return critic.fit(learned, states, 100 * states @ wanted), None

    learned, _ = jax.jit(lambda: jax.lax.scan(see, critic.init(3, jnp.float64), states))()
    fresh = jax.random.normal(jax.random.key(1), (200, 3))
    error = jnp.mean((critic.predict(learned, fresh) - 100 * fresh @ wanted) ** 2)
    assert error < 0.1 * jnp.mean((100 * fresh @ wanted) ** 2)


@thorough
def test_a_fitted_critic_lowers_the_variance_where_the_state_knows_what_is_asked():
    """On recall, where the state holds the symbol that will be asked for."""
    task = tb.Recall(distance=8, batch_size=16)
    model = task.model("tanh", 8)
    params = tb.train(model, tb.Full(), task, optax.adam(1e-2), steps=100, key=jax.random.key(0), evaluations=1).params
    est = tb.Randomized(0.75, critic=Features(count=64))

    def see(carry, key):
        batch = task.batch(key)
        return est(model, params, est.restart(model, params, carry, batch, None), batch, key)[1], None

    batch = jax.jit(task.batch)(jax.random.key(9))
    start = est.init(model, params, batch, None)
    carry, _ = jax.jit(lambda: jax.lax.scan(see, start, jax.random.split(jax.random.key(1), 100)))()
    assert isinstance(carry, Fitted)
    with_it, without = (
        tb.exact.variance(e, model, params, batch) for e in (est.frozen(carry, task.length), replace(est, critic=None))
    )
    assert with_it < 0.1 * without


def test_a_critic_is_not_taught_that_nothing_lies_beyond_the_cuts_of_a_stream():
    task = tb.Copy(length=12, batch_size=2, longest=3)
    with pytest.raises(tb.UserError, match="never sees there what lies beyond"):
        est = tb.ARTBP(4.0, critic=Linear())
        tb.train(task.model("tanh", 4), est, task, optax.adam(1e-2), steps=3, key=jax.random.key(0))


@thorough
@pytest.mark.parametrize(
    ("est", "task"),
    [
        (tb.Randomized(0.8, critic=Linear()), tb.Copy(length=12, batch_size=2, longest=3)),
        (tb.DNI(4), tb.Copy(length=12, batch_size=2, longest=3)),
        (tb.ARTBP(4.0, critic=Linear()), tb.Recall(distance=5, batch_size=2)),
    ],
    ids=str,
)
def test_training(est, task):
    history = tb.train(
        task.model("tanh", 4), est, task, optax.adam(1e-2), steps=30, key=jax.random.key(0), evaluations=2, seeds=2
    )
    assert np.isfinite(history.held_out).all()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: tb.scan(lambda h, x: (h, h), 0.0, jnp.ones(3), truncation=tb.DNI(2)), "truncation: .*critic"),
        (lambda: tb.gradient(tb.Segment(2, in_order=True, critic=Linear()), *problem("tanh")), "in_order"),
        (lambda: tb.gradient(tb.Full(states=2, critic=Linear()), *problem("tanh")), "states"),
        (lambda: tb.exact.variance(tb.ARTBP(3.0, critic=Linear()), *problem("tanh")), "renewal"),
        (lambda: tb.Full().frozen(Fitted(None, None), 3), "no critic"),
        (lambda: Linear(memory=2), "memory"),
        (lambda: MLP(width=0), "width"),
        (lambda: Network(), "make"),
        (lambda: tb.make_estimator("randomized(keep=0.5, critic=cubic())"), "critic"),
        (lambda: tb.make_estimator("randomized(keep=linear())"), "randomized"),
    ],
)
def test_what_a_critic_cannot_do_is_said_by_name(ask, words):
    with pytest.raises(tb.UserError, match=words):
        ask()
