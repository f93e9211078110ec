"""`tb.scan` is `lax.scan` forward, and backward what the definition says."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import tbptt_jax as tb
from tbptt_jax.gradients.cuts import linear_map
from tbptt_jax.gradients.cuts.definition import scan_by_definition
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Blocks, Gates, Lags
from tests.problems import distance
from tests.tiers import cases, thorough

T, B, H = 7, 3, 4
KEYS = jax.random.split(jax.random.key(0), 8)
W = jax.random.normal(KEYS[0], (H, H))
XS = jax.random.normal(KEYS[1], (T, B, H))
H0 = jax.random.normal(KEYS[2], (B, H))
GATES = {"[T, B]": jax.random.uniform(KEYS[3], (T, B)) * 2, "[T]": jax.random.uniform(KEYS[3], (T,)) * 2}


def objective(scan, w, h0, xs):
    """Weights, initial state, inputs, outputs and final state all matter."""

    def f(h, x):
        h = jnp.tanh(h @ w.T + x)
        return h, h * x

    final, ys = scan(f, h0, xs)
    return jnp.sum(jnp.sin(3 * ys)) + jnp.sum(final**2)


def gradients(scan):
    return jax.jit(jax.grad(partial(objective, scan), (0, 1, 2)))(W, H0, XS)


@pytest.mark.parametrize("gates", GATES.values(), ids=GATES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stretch", cases([32, 3], [3]))  # all at once; or two stretches of three steps and one left
def test_equals_the_definition_on_any_gates(monkeypatch, gates, reverse, stretch):
    monkeypatch.setattr(linear_map, "STRETCH", stretch)
    ours, theirs = (partial(scan, reverse=reverse, gates=gates) for scan in (tb.scan, scan_by_definition))
    found = jax.jit(lambda *at: [jax.value_and_grad(partial(objective, how), (0, 1, 2))(*at) for how in (ours, theirs)])
    (our_value, our_gradients), (their_value, their_gradients) = found(W, H0, XS)
    assert abs(our_value - their_value) < 1e-13
    assert distance(our_gradients, their_gradients) < 1e-12


SEGMENTS = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 2), (5, 3), (T, 0), (T, 4), (T + 1, 3)]


@pytest.mark.parametrize("tau, offset", cases(SEGMENTS, [(1, 0), (3, 2), (5, 3), (T, 0)]))
def test_segments_side_by_side_equal_their_gates(tau, offset):
    segment = tb.Segment(tau, offset)
    gates = segment.gates(None, T, 1)[:, 0]
    assert isinstance(segment.cut(None, T, None), Gates if (tau, offset) == (T, 0) else Blocks)
    ours = gradients(partial(tb.scan, truncation=segment))
    assert distance(ours, gradients(partial(scan_by_definition, gates=gates))) < 1e-12


def gradients_looking_back(first):
    """By a loop: loss t (from 0) sees the steps first(t)..t, and the initial state where it sees the first step."""

    def loss(w, h0, xs):
        states = [h0]
        for x in xs:
            states.append(jnp.tanh(states[-1] @ w.T + x))
        value = 0.0
        for t in range(T):
            start = max(first(t), 0)
            h = h0 if start == 0 else lax.stop_gradient(states[start])
            for x in xs[start : t + 1]:
                h = jnp.tanh(h @ w.T + x)
            value += jnp.sum(jnp.sin(3 * h * xs[t])) + (jnp.sum(h**2) if t == T - 1 else 0)
        return value

    return jax.jit(jax.grad(loss, (0, 1, 2)))(W, H0, XS)


@pytest.mark.parametrize("tau", cases([1, 2, 4, T, T + 1], [1, 4, T + 1]))
def test_windows_equal_a_loop_over_losses(tau):
    loop = gradients_looking_back(lambda t: t - tau + 1)
    traced = jax.jit(
        lambda tau: jax.grad(partial(objective, partial(tb.scan, truncation=tb.Window(tau))), (0, 1, 2))(W, H0, XS)
    )
    assert distance(gradients(partial(tb.scan, truncation=tb.Window(tau))), loop) < 1e-12
    assert distance(traced(tau), loop) < 1e-12


LOOKING_BACK = [(1, 1), (4, 2), (3, 2), (5, 3), (7, 1), (9, 3), (8, 7), (20, 5), (9, 8)]


@pytest.mark.parametrize("k1, k2", cases(LOOKING_BACK, [(1, 1), (5, 3), (20, 5)]))
def test_overlapping_blocks_equal_a_loop_over_losses(k1, k2):
    loop = gradients_looking_back(lambda t: (t // k2 + 1) * k2 - k1)
    assert distance(gradients(partial(tb.scan, truncation=tb.Buffered(k1, k2))), loop) < 1e-12


def test_in_reverse_a_truncation_counts_the_steps_as_they_run():
    flipped = gradients_of(tb.scan, XS[::-1], truncation=tb.Segment(3))
    reverse = gradients_of(tb.scan, XS, truncation=tb.Segment(3), reverse=True)
    assert distance(reverse[:2], flipped[:2]) < 1e-12 and distance(reverse[2], flipped[2][::-1]) < 1e-12


def gradients_of(scan, xs, **options):
    """As `gradients`, for an objective that does not care in which order the outputs lie."""
    return jax.jit(jax.grad(partial(objective, partial(scan, **options)), (0, 1, 2)))(W, H0, xs)


def test_random_truncation_equals_the_definition_on_the_gates_it_draws():
    key = jax.random.key(5)
    for truncation in (tb.Randomized(0.6), tb.Geometric(0.6), tb.ARTBP(3.0)):
        gates = truncation.gates(key, T, 1)[:, 0]
        ours = gradients(partial(tb.scan, truncation=truncation, key=key))
        assert distance(ours, gradients(partial(scan_by_definition, gates=gates))) < 1e-12


@thorough
@pytest.mark.parametrize("stretch", cases([32, 3], lambda stretch: stretch == 3))
def test_second_derivatives_equal_those_of_the_definition(monkeypatch, stretch):
    monkeypatch.setattr(linear_map, "STRETCH", stretch)

    def twice(scan):
        def squared_norm(w):
            return sum(jnp.sum(g**2) for g in jax.grad(partial(objective, scan), (0, 1, 2))(w, H0, XS))

        return jax.jit(jax.grad(squared_norm))(W)

    cases = [(Gates(gates), gates) for gates in GATES.values()]
    cases += [(Blocks(tau, tau), tb.Segment(tau).gates(None, T, 1)[:, 0]) for tau in (2, 3)]
    for cut, gates in cases:
        expected = twice(partial(scan_by_definition, gates=gates))
        apart = distance(twice(lambda f, init, xs, cut=cut: cut_scan(f, init, xs, cut)), expected)
        assert apart < 1e-12 * jnp.max(jnp.abs(expected))
    uncut = twice(lambda f, init, xs: cut_scan(f, init, xs, Gates(None)))
    assert distance(uncut, twice(lax.scan)) < 1e-12 * jnp.max(jnp.abs(uncut))


def nested(scan, inner=lax.scan):
    def f(w):
        def outer(h, x):
            h, ys = inner(lambda g, y: (jnp.sin(g * w + y), g), h, jnp.arange(3.0))
            return h + x, jnp.sum(ys)

        return scan(outer, jnp.ones(2), jnp.arange(4.0))

    return f


def integers_everywhere(scan):
    def f(w):
        table = jnp.arange(5)  # a closure over whole numbers

        def step(state, x):
            count, h = state
            h = jnp.tanh(w * h + table[count % 5] + x["symbol"])
            return (count + 1, h), {"count": count, "even": count % 2 == 0, "h": h}

        xs = {"symbol": jnp.arange(6), "unused": jnp.ones((6, 0))}
        return scan(step, (jnp.asarray(0), jnp.ones(3)), xs)

    return f


def random_keys(scan):
    def f(w):
        def step(state, _):
            key, h = state
            key, sub = jax.random.split(key)
            return (key, w * h + jax.random.normal(sub)), h

        (_, h), ys = scan(step, (jax.random.key(0), 1.0), None, length=5)
        return h, ys

    return f


ODD = {
    "dictionaries and tuples": lambda scan: (
        lambda w: scan(
            lambda s, x: ({"a": (jnp.tanh(w * s["a"][0] + x[0]),), "b": s["b"] * x[1]["c"]}, (s["b"], None)),
            {"a": (jnp.ones(2),), "b": jnp.asarray(1.0)},
            (jnp.arange(4.0), {"c": jnp.linspace(0.5, 1, 4)}),
        )
    ),
    "whole numbers in carry, inputs and outputs": integers_everywhere,
    "no inputs, a length": lambda scan: lambda w: scan(lambda h, _: (jnp.sin(w * h), h), jnp.ones(2), None, length=5),
    "in reverse": lambda scan: lambda w: scan(lambda h, x: (jnp.sin(w * h + x), h), 0.5, jnp.arange(4.0), reverse=True),
    "a Python number as state": lambda scan: lambda w: scan(lambda h, x: (h * w + x, h), 0, jnp.arange(4.0)),
    "unrolled": lambda scan: lambda w: scan(lambda h, x: (jnp.sin(w * h + x), h), 0.5, jnp.arange(5.0), unroll=2),
    "no output": lambda scan: lambda w: scan(lambda h, x: (jnp.sin(w * h + x), None), 0.5, jnp.arange(4.0)),
    "one step": lambda scan: lambda w: scan(lambda h, x: (jnp.sin(w * h + x), h), 0.5, jnp.ones(1)),
    "nothing carried": lambda scan: lambda w: scan(lambda _, x: (None, w * x), None, jnp.arange(3.0)),
    "nothing carried, nothing read": lambda scan: lambda w: scan(lambda c, _: (c, w * 1.0), None, None, length=3),
    "zero steps": lambda scan: lambda w: scan(lambda h, x: (jnp.sin(w * h + x), h), w, jnp.ones(0)),
    "a scan in the scan": nested,
    "keys in the state": random_keys,
    "a checkpoint in the step": lambda scan: (
        lambda w: scan(jax.checkpoint(lambda h, x: (jnp.sin(w * h + x), h)), 0.5, jnp.arange(4.0))
    ),
    "a branch in the step": lambda scan: (
        lambda w: scan(
            lambda h, x: (lax.cond(h > 0.3, lambda h: h * w, lambda h: h - w, h) + x, h), 0.5, jnp.arange(4.0)
        )
    ),
    "complex numbers": lambda scan: (
        lambda w: (lambda out: (jnp.abs(out[0]), out[1].real))(
            scan(lambda h, x: (h * jnp.exp(1j * w) + x, h), jnp.asarray(1 + 1j), jnp.arange(4.0))
        )
    ),
}


def value_and_gradient(program):
    def number(w):
        leaves = jax.tree.leaves(program(w))
        floats = [jnp.sum(leaf * 1.7) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return sum(floats), [leaf for leaf in leaves if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)]

    return jax.jit(jax.value_and_grad(number, has_aux=True))(0.7)


@pytest.mark.parametrize("program", ODD.values(), ids=ODD)
@pytest.mark.parametrize(
    "truncation",
    cases([None, tb.Full(), tb.Segment(100), tb.Window(100)], lambda truncation: truncation in (None, tb.Segment(100))),
    ids=str,
)
def test_odd_programs_are_those_of_lax_scan(program, truncation):
    ours = value_and_gradient(program(partial(tb.scan, truncation=truncation)))
    theirs = value_and_gradient(program(lax.scan))
    assert jax.tree.map(jnp.result_type, ours) == jax.tree.map(jnp.result_type, theirs)
    assert distance(jax.tree.map(np.asarray, ours), jax.tree.map(np.asarray, theirs)) < 1e-12


def test_a_cut_scan_inside_a_cut_scan():
    ones = partial(scan_by_definition, gates=jnp.full(3, 0.5))
    inner = partial(tb.scan, gates=jnp.full(3, 0.5))
    ours = value_and_gradient(nested(partial(tb.scan, gates=jnp.full(4, 0.3)), inner))
    theirs = value_and_gradient(nested(partial(scan_by_definition, gates=jnp.full(4, 0.3)), ones))
    assert distance(ours, theirs) < 1e-12


def test_works_under_vmap_over_keys_data_parameters_and_closures():
    cut = partial(tb.scan, gates=GATES["[T]"])
    gradient = jax.jit(jax.grad(partial(objective, cut), (0, 1, 2)))
    stack = lambda a: jnp.stack([a, 2 * a, -a])  # noqa: E731
    for axes, args in (((0, None, None), (stack(W), H0, XS)), ((None, 0, 0), (W, stack(H0), stack(XS)))):
        together = jax.jit(jax.vmap(gradient, axes))(*args)
        for i in range(3):
            alone = gradient(*(arg if axis is None else arg[i] for arg, axis in zip(args, axes)))
            assert distance(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone) < 1e-12

    def over_keys(scan, key):
        return jax.grad(lambda w: objective(partial(scan, truncation=tb.Randomized(0.5), key=key), w, H0, XS))(W)

    keys = jax.random.split(jax.random.key(1), 3)
    of_keys = jax.jit(partial(over_keys, tb.scan))
    assert distance(jax.vmap(of_keys)(keys)[1], of_keys(keys[1])) < 1e-12

    def closing_over(scale, symbol):
        step = lambda h, x: (jnp.tanh(h @ W.T * scale + x[:, symbol, None]),) * 2  # noqa: E731
        return jnp.sum(cut(step, H0, XS)[1] ** 2)

    scales, symbols = jnp.asarray([0.5, 1.0]), jnp.asarray([1, 3])
    closed = jax.jit(jax.grad(closing_over))
    assert (
        distance(jax.vmap(closed)(scales, symbols), jnp.stack([closed(s, i) for s, i in zip(scales, symbols)])) < 1e-12
    )


def test_works_under_checkpoint():
    plain = partial(objective, partial(tb.scan, gates=GATES["[T]"]))
    ours, theirs = jax.jit(lambda *at: [jax.grad(how)(*at) for how in (jax.checkpoint(plain), plain)])(W, H0, XS)
    assert distance(ours, theirs) < 1e-12


@pytest.mark.parametrize(
    "how",
    [{"truncation": tb.Segment(2)}, {"truncation": tb.Window(2)}, {"gates": GATES["[T]"]}, {"states": 2}],
    ids=["segment", "window", "gates", "states"],
)
def test_a_step_with_a_rule_of_its_own_for_the_way_back(how):
    """The rule gives twice the derivative, so that it is seen whether it is used, in each step and once."""

    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    sine.defvjp(lambda x: (sine(x), x), lambda x, bar: (2 * bar * jnp.cos(x),))

    def objective(function, scan, w):
        final, ys = scan(lambda h, x: (function(h @ w.T + x), h), H0, XS)
        return jnp.sum(jnp.sin(3 * ys)) + jnp.sum(final**2)

    def twice(x):
        return 2 * jnp.sin(x) - jax.lax.stop_gradient(jnp.sin(x))

    ours, theirs = (jax.jit(jax.grad(partial(objective, f, partial(tb.scan, **how))))(W) for f in (sine, twice))
    assert distance(ours, theirs) < 1e-12


def test_what_is_kept_for_the_backward_pass():
    """Residuals of the pullback hold states, and what the derivative of a step needs besides, once each."""
    _, pullback = jax.vjp(partial(objective, partial(tb.scan, gates=GATES["[T]"])), W, H0, XS)
    _, shorter = jax.vjp(partial(objective, partial(tb.scan, gates=GATES["[T]"][:-1])), W, H0, XS[:-1])
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree) if hasattr(leaf, "size"))  # noqa: E731
    states_inputs_outputs_gate = 3 * B * H + 1 + B * H  # sin's own residual, of the outputs, is the last
    slope_of_a_step = B * H
    assert size(pullback) - size(shorter) <= states_inputs_outputs_gate + slope_of_a_step


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"truncation": tb.Segment(2), "gates": jnp.ones(T)}, "not both"),
        ({"truncation": "segment"}, "an estimator that cuts"),
        ({"truncation": tb.Randomized(0.5)}, "pass key="),
        ({"gates": jnp.ones(T + 1)}, r"shape \[7\] is needed"),
        ({"gates": jnp.ones((T, B + 1))}, r"\[7, B\]"),
        ({"gates": jnp.ones(T, int)}, "floats are needed"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        objective(partial(tb.scan, **arguments), W, H0, XS)


def test_lags_of_a_traced_tau_compile_once():
    traces = []

    @jax.jit
    def gradient(tau):
        traces.append(tau)
        return jax.grad(lambda w: objective(lambda f, init, xs: cut_scan(f, init, xs, Lags(tau)), w, H0, XS))(W)

    for tau in (1, 3, 100):
        gradient(tau)
    assert len(traces) == 1
