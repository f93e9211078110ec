"""Few states kept, the others made again: the same derivatives, the work of the best schedule, and less memory."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Blocks, Gates, Lags
from tbptt_jax.gradients.cuts.schedule import advances, schedule, split
from tests.problems import EVERY_MODEL, distance, problem
from tests.tiers import cases, thorough

T, B, H = 11, 2, 3
KEYS = jax.random.split(jax.random.key(0), 5)
W, H0, XS = (jax.random.normal(key, shape) for key, shape in zip(KEYS, ((H, H), (B, H), (T, B, H))))
GATES = 2 * jax.random.uniform(KEYS[3], (T, B)) * jax.random.bernoulli(KEYS[4], 0.7, (T, B))
CUTS = {
    "none": Gates(None),
    "gates [T]": Gates(GATES[:, 0]),
    "gates [T, B]": Gates(GATES),
    "segments from an offset": Blocks(3, 3, 1, whole=False),
    "overlapping blocks": Blocks(5, 2),
    "overlapping blocks from an offset": Blocks(6, 4, 3, whole=False),
    "blocks of everything": Blocks(40, 3),
    "window of 1": Lags(1),
    "window of 3": Lags(3),
    "window of all": Lags(100),
}


@cache
def fewest(count, states):
    """By trying every place for the next state to keep."""
    if count <= 1:
        return 0
    if states == 1:
        return count * (count - 1) // 2
    return min(m + fewest(count - m, states - 1) + fewest(m, states) for m in range(1, count))


def test_no_schedule_runs_fewer_steps_again():
    for blocks in range(1, 34):
        for states in range(1, min(blocks, 7) + 1):
            assert advances(blocks, states) == fewest(blocks, states)
            if states > 1 and blocks > 1:
                m = split(blocks, states)
                assert m + fewest(blocks - m, states - 1) + fewest(m, states) == fewest(blocks, states)


@pytest.mark.parametrize("length, states", [(64, 16), (64, 4), (64, 3), (64, 1), (97, 7), (13, 12), (1, 1), (500, 45)])
def test_a_schedule_takes_every_block_back_once_from_states_that_it_has(length, states):
    """Its moves are played through, with whole numbers in the place of states."""
    plan = schedule(length, states)
    assert plan.head + plan.size * plan.blocks == length and plan.states <= states
    slots = {int(slot): block for block, slot in enumerate(plan.first) if slot >= 0}
    now, taken_back, forward = None, [], 0
    for load, block, back, store in plan.moves.tolist():
        now = slots[load] if load >= 0 else now
        assert now == block  # the state at hand is the one before this block
        if back:
            taken_back.append(block)
        else:
            now, forward = block + 1, forward + 1
        if store >= 0:
            slots[store] = now
        assert len(slots) <= plan.slots
    assert taken_back == list(reversed(range(plan.blocks)))
    assert forward == advances(plan.blocks, plan.slots) - first_sweep(plan)
    assert plan.again == plan.size * forward + plan.blocks * (plan.size - 1) + max(0, plan.head - 1)


def first_sweep(plan):
    """How many blocks the forward pass itself brings the state to the last slot that it fills."""
    return max(block for block, slot in enumerate(plan.first) if slot >= 0)


def program(cut):
    """A state with a whole number in it, outputs, and a last state, all of which the loss sees."""

    def value(w, h0, xs):
        def f(state, x):
            h, n = state
            h = jnp.tanh(h @ w.T + x)
            return (h, n + 1), h * x * n

        (h, n), ys = cut_scan(f, (h0, jnp.array(0)), xs, cut)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(h**2) + n

    return value


@thorough
@pytest.mark.parametrize("name", CUTS)
def test_derivatives_are_those_with_all_states(name):
    cut = CUTS[name]
    moving = (0.3 * W, 0.2 * H0, 0.1 * XS)

    @jax.jit
    def derivatives(*at):
        value = program(cut)
        found = [(jax.grad(value, (0, 1, 2))(*at), jax.jvp(value, at, moving)[1])]
        for states in (1, 3, 5, 10):
            ours = program(cut.keeping(states, T))
            found.append((jax.grad(ours, (0, 1, 2))(*at), jax.jvp(ours, at, moving)[1], None))
        found.append((*found[0][:2], jax.grad(program(cut.keeping(2, T)))(*at)))
        return found

    (theirs, forward), *found = derivatives(W, H0, XS)
    for ours, moved, alone in found:
        assert distance(ours, theirs) < 1e-12
        assert abs(moved - forward) < 1e-11
        assert alone is None or distance(alone, theirs[0]) < 1e-12  # what does not move is left out


def test_steps_with_a_rule_of_their_own_for_the_way_back():
    @jax.custom_vjp
    def twice(h):
        return 2 * h

    twice.defvjp(lambda h: (2 * h, None), lambda _, bar: (2 * bar,))

    def value(w, cut):
        return jnp.sum(jnp.sin(cut_scan(lambda h, x: (jnp.tanh(twice(h) @ w.T + x),) * 2, H0, XS, cut)[1]))

    for cut in (Lags(4), Blocks(5, 2)):
        ours, theirs = jax.jit(lambda w, cut=cut: [jax.grad(value)(w, how) for how in (cut.keeping(3, T), cut)])(W)
        assert distance(ours, theirs) < 1e-12


@thorough
def test_second_derivatives_of_the_exact_one_alone():
    few, all_states = jax.jit(lambda: [jax.hessian(program(Gates(None, states=k)))(W, H0, XS) for k in (3, None)])()
    assert distance(few, all_states) < 1e-10
    with pytest.raises(tb.UserError, match="states: a cut scan that keeps few states has no second derivative"):
        jax.hessian(program(Gates(GATES, states=3)))(W, H0, XS)
    with pytest.raises(tb.UserError, match="states: a cut scan that keeps few states has no second derivative"):
        jax.hessian(program(Lags(3).keeping(3, T)))(W, H0, XS)


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_estimators_that_keep_few_states_give_the_same(name):
    """All of them for states of one leaf and of two; all steps and windows for every network."""
    model, params, batch = problem(name)
    key = jax.random.key(5)

    families = [  # what keeps all states, and what must equal it
        (tb.Full(), [tb.Full(states=2), tb.Full(states="sqrt")]),
        (tb.Window(3), [tb.Window(3, states=1)]),
    ]
    if name == "tanh":
        families += [
            (tb.Full(), [tb.Full(states=1), tb.Full(states=5)]),
            (tb.Segment(2), [tb.Segment(2, states=3)]),
            (tb.Randomized(0.6), [tb.Randomized(0.6, states=2)]),
            (tb.ARTBP(3.0), [tb.ARTBP(3.0, states=2)]),
            (tb.Window(3), [tb.Window(3, states=40)]),
            (tb.Buffered(5, 2), [tb.Buffered(5, 2, states=2)]),
        ]

    @jax.jit
    def gradients(params):
        start = model.initial_state(params, 2)
        return [[est(model, params, start, batch, key)[0] for est in [theirs, *ours]] for theirs, ours in families]

    for theirs, *ours in gradients(params):
        assert all(distance(one, theirs) < 1e-12 for one in ours)


@thorough
def test_the_work_is_what_the_schedule_says():
    """Operations that are counted, in those of a forward step; the way back itself is the same."""

    def operations(states, length=24):
        xs = jnp.zeros((length, B, H))
        return count(jax.grad(lambda w: jnp.sum(cut_scan(step(w), H0, xs, Gates(None, states=states))[0])), W)[0]

    def step(w):
        return lambda h, x: (jnp.tanh(h @ w.T + x), None)

    one, all_states = count(lambda w: step(w)(H0, XS[0])[0], W)[0], operations(24)
    for states in (2, 3, 6):
        more = operations(states) - all_states
        assert abs(more / one - schedule(24, states).again) <= 0.25 * schedule(24, states).again + 24


@pytest.mark.parametrize("some", cases([True, False], [True]), ids=["some", "others"])
def test_scan_and_truncate_take_states(some):
    def loss(w, **how):
        return jnp.sum(tb.scan(lambda h, x: (jnp.tanh(h @ w.T + x), h), H0, XS, **how)[1] ** 2)

    def gradient(**how):
        return jax.grad(lambda w: loss(w, **how))

    key = jax.random.key(1)
    exact, window = gradient(), gradient(truncation=tb.Window(3))
    pairs = [
        (exact, gradient(states=3)),
        (exact, jax.grad(tb.truncate(loss, tb.Full(states=4)))),
        (gradient(reverse=True), gradient(reverse=True, states="sqrt")),
        (gradient(gates=GATES), gradient(gates=GATES, states=2)),
        [gradient(truncation=tb.Randomized(0.7, states=k), key=key) for k in (None, 3)],
        (window, gradient(truncation=tb.Window(3), states=2)),
        (window, jax.grad(tb.truncate(loss, tb.Window(3, states=2)))),
        (window, gradient(truncation=tb.Window(3, states=2), states=5)),  # the latter counts
        (window, gradient(truncation=tb.Window(3, states=2), states=40)),
        (window, gradient(truncation=tb.Window(np.int64(3)), states=2)),
    ]
    pairs = [pair for i, pair in enumerate(pairs) if some == (i in (0, 4, 6))]
    found = jax.jit(lambda w: [(one(w), other(w)) for one, other in pairs])(W)
    assert [i for i, both in enumerate(found) if distance(*both) >= 1e-12] == []
    given = jax.jit(lambda est: gradient(truncation=est)(W))
    assert distance(given(tb.Window(3, states=2)), jax.jit(window)(W)) < 1e-12  # an argument, its tau a constant
    with pytest.raises(tb.UserError, match=r"states: telescope\(.*needs those of all steps side by side"):
        loss(W, truncation=tb.Telescope(), states=2, key=key)
    with pytest.raises(tb.UserError, match="window: states=2 needs lengths that are Python numbers"):
        jax.jit(lambda tau: jax.grad(lambda w: loss(w, truncation=tb.Window(tau, states=2)))(W))(3)
    for wrong in (0, -1, True, "all"):
        with pytest.raises(tb.UserError, match='states: a whole number of at least 1, or "sqrt", is needed'):
            loss(W, states=wrong)
        with pytest.raises(tb.UserError, match="states: a whole number"):
            tb.gradient(tb.Full(states=wrong), *problem("tanh"))


def test_states_belong_to_the_text_and_the_structure_of_an_estimator():
    est = tb.make_estimator("randomized(keep=0.9, states=16)")
    assert est == tb.Randomized(0.9, states=16) and str(est) == "randomized(keep=0.9, states=16)"
    assert jax.tree.leaves(est) == [0.9]
    assert [e.states_alive(64) for e in (tb.Full(), tb.Full(states=8), tb.Full(states="sqrt"), tb.Window(4))] == [
        *(64, 8, 16, 64)
    ]
    assert [e.states_alive(64) for e in (tb.Window(4, states=8), tb.Buffered(4, 2, states=16))] == [8, 16]
    assert [e.states_alive(64) for e in (tb.Segment(8, in_order=True), tb.RTRL(), tb.ES())] == [8, 1, 1]
    with pytest.raises(tb.UserError, match="in_order keeps tau states"):
        tb.Segment(4, in_order=True, states=3)


@thorough
def test_memory_is_that_of_the_states_that_are_kept():
    """Temporaries of the compiled program, at 4,096 steps over those at 256: 1.2 at most for a number of states, and
    √16 · 1.2 for "sqrt"; all states are 16 times as many."""

    def temporaries(est, length):
        model = tb.rnn("tanh", 4, 64, 3)
        params = jax.eval_shape(model.init, jax.random.key(0))
        batch = tb.Batch(jnp.zeros((length, 4, 4), jnp.float32), jnp.zeros((length, 4), int))
        start = jnp.zeros((4, 64))

        def estimate(params, batch):
            return est(model, params, start, batch, jax.random.key(0))[0]

        return jax.jit(estimate).lower(params, batch).compile().memory_analysis().temp_size_in_bytes

    grows = {est: temporaries(est, 4096) / temporaries(est, 256) for est in ESTIMATORS}
    assert grows[tb.Full()] > 12
    assert grows[tb.Full(states="sqrt")] <= 4 * 1.2
    for est in BOUNDED:
        assert grows[est] <= 1.2, (str(est), grows[est])


BOUNDED = [
    tb.Full(states=32),
    tb.Segment(16, in_order=True),
    tb.Segment(16, "random", in_order=True),
    tb.Segment(16, states=32),
    tb.Window(8, states=32),
    tb.Buffered(16, 8, states=32),
    tb.Randomized(0.9, states=32),
    tb.ARTBP(16.0, states=32),
]
ESTIMATORS = [tb.Full(), tb.Full(states="sqrt"), *BOUNDED]


def test_nothing_is_said_of_states_that_are_all_kept():
    flat, _ = ravel_pytree(jax.grad(program(Gates(None, states=T)))(W, H0, XS))
    text = str(jax.make_jaxpr(jax.grad(program(Gates(None, states=T))))(W, H0, XS))
    assert "cond" not in text and flat.shape == (H * H,)
