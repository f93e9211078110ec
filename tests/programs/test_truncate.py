"""`tb.truncate` on programs that know nothing of it: values to the bit, gradients as cut by hand in the user's code."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import tbptt_jax as tb
from tbptt_jax.gradients.cuts.definition import scan_by_definition
from tbptt_jax.gradients.cuts.kinds import Gates, Truncates
from tests.problems import distance
from tests.programs.programs import (
    AT_ONCE,
    GATES,
    PARAMS,
    PROGRAMS,
    XS,
    B,
    H,
    T,
    around_a_scan,
    half_precision,
    in_jit,
    in_reverse,
    one,
    step,
    two_in_a_row,
)
from tests.tiers import cases, thorough


@dataclass(frozen=True)
class Given(Truncates):
    """Fixed gates."""

    gates: Any

    def cut(self, key, length, batch_size):
        return Gates(self.gates)


@pytest.mark.parametrize("program", cases(PROGRAMS, AT_ONCE), ids=lambda program: program.__name__)
def test_values_are_the_same_to_the_bit_and_gradients_as_cut_by_hand(program):
    """Full is the program's own gradient; segments and fixed gates are `stop_gradient` in the user's code; windows and
    overlapping blocks are those of a scan that the user cuts. In one compiled program, since each of them is small."""
    f, flip = program(lax.scan), -1 if program is in_reverse else 1  # by hand, gates lie as the inputs do
    cases, first = {"full": (tb.Full(), f)}, program is one
    gated = {"gates": Given(GATES), **({"segment": tb.Segment(2), "offset": tb.Segment(4, 1)} if first else {})}
    for name, truncation in gated.items():
        gates = truncation.gates if isinstance(truncation, Given) else truncation.gates(None, T, 1)[:, 0]
        cases[name] = truncation, program(partial(scan_by_definition, gates=gates[::flip]))
    for name, truncation in {"window": tb.Window(2), **({"blocks": tb.Buffered(4, 2)} if first else {})}.items():
        cases[name] = truncation, program(partial(tb.scan, truncation=truncation))

    @jax.jit
    def all_of_them(p):
        cut = {name: jax.value_and_grad(tb.truncate(f, truncation))(p) for name, (truncation, _) in cases.items()}
        by_hand = {name: jax.value_and_grad(other)(p) for name, (_, other) in cases.items()}
        return cut, by_hand

    cut, by_hand = all_of_them(PARAMS)
    tolerance = 0.2 if program is half_precision else 1e-11
    for name in cases:
        assert cut[name][0] == by_hand["full"][0], name
        assert distance(cut[name][1], by_hand[name][1]) < tolerance, name


def test_the_mean_over_all_patterns_of_random_gates_is_the_gradient():
    """keep 0.7, all 2^5 patterns; and the gates that a key draws are those of a scan with that key."""
    f, keep = one(lax.scan), 0.7
    patterns = np.array([[1.0, *kept] for kept in product((0, 1), repeat=T - 1)])
    chances = np.prod(np.where(patterns[:, 1:] > 0, keep, 1 - keep), axis=1)
    gates = jnp.asarray(np.concatenate([patterns[:, :1], patterns[:, 1:] / keep], axis=1))
    grads = jax.jit(jax.vmap(lambda gates: jax.grad(tb.truncate(f, Given(gates)))(PARAMS)))(gates)
    mean = jax.tree.map(lambda leaf: jnp.tensordot(jnp.asarray(chances), leaf, 1), grads)
    assert distance(mean, jax.grad(f)(PARAMS)) < 1e-12

    key = jax.random.key(7)
    drawn = jax.jit(lambda key: jax.grad(tb.truncate(f, tb.Randomized(keep), key=key))(PARAMS))(key)
    gates = tb.Randomized(keep).gates(jax.random.fold_in(key, 0), T, 1)[:, 0]
    assert distance(drawn, jax.grad(one(partial(scan_by_definition, gates=gates)))(PARAMS)) < 1e-12


def test_loops_have_keys_of_their_own_and_sequences_gates_of_their_own():
    key, est = jax.random.key(1), tb.Randomized(0.6)
    first, second = (est.gates(jax.random.fold_in(key, i), T, B) for i in (0, 1))
    assert not jnp.array_equal(first, second)
    scans = iter([partial(scan_by_definition, gates=first), partial(scan_by_definition, gates=second)])
    both = lambda f, init, xs: next(scans)(f, init, xs)  # noqa: E731

    def stacked(scan):
        def f(p):
            _, hs = scan(partial(step, p), jnp.zeros((B, H)), XS)
            return jnp.sum(scan(partial(step, p), hs[0], hs)[1] ** 2)

        return f

    by_hand = jax.grad(stacked(both))(PARAMS)
    ours = jax.grad(tb.truncate(stacked(lax.scan), est, key=key, batch_axis=0))(PARAMS)
    assert distance(ours, by_hand) < 1e-12
    turned = lambda p: jnp.sum(lax.scan(lambda h, x: (step(p, h.T, x)[0].T,) * 2, jnp.zeros((H, B)), XS)[1] ** 2)  # noqa: E731
    straight = lambda p: jnp.sum(lax.scan(partial(step, p), jnp.zeros((B, H)), XS)[1] ** 2)  # noqa: E731
    along = [tb.truncate(f, est, key=key, batch_axis=axis) for f, axis in ((straight, 0), (turned, 1), (turned, -1))]
    grads = [jax.grad(f)(PARAMS) for f in along]
    assert distance(grads[0], grads[1]) < 1e-12 and distance(grads[0], grads[2]) < 1e-12
    with pytest.raises(tb.UserError, match=r"batch_axis: one size along axis 5 is needed .* got shapes \[\[3, 4\]\]"):
        tb.truncate(straight, est, key=key, batch_axis=5)(PARAMS)


def test_scans_lists_what_there_is():
    def f(p):
        with jax.named_scope("encoder"):
            a = in_jit(lax.scan)(p)
        b = around_a_scan(lax.scan)(p)
        c = lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 2), (0, a))[1]
        return a + b + c + lax.fori_loop(0, 5, lambda i, n: n + i, 0)

    found = tb.scans(f)(PARAMS)
    assert [(loop.kind, loop.length, loop.outermost) for loop in found] == [
        ("scan", 6, True),
        ("scan", 6, True),
        ("scan", 2, False),
        ("while", None, True),
        ("scan", 5, True),
    ]
    assert found[0].carry == ("float64[3,4]",) and "encoder" in found[0].scope and not found[1].scope
    assert "programs.py:" in found[0].source and not found[4].carries_floats
    table = str(found)
    assert "cannot be cut: how often it turns depends on data" in table and "test_truncate.py" in table
    assert str(tb.scans(lambda x: x)(1.0)) == "there are no loops"


def test_where_chooses():
    f = two_in_a_row(lax.scan)
    first, second = tb.scans(f)(PARAMS)
    by_place = [jax.grad(tb.truncate(f, tb.Segment(2), where=loop.source))(PARAMS) for loop in (first, second)]
    by_number = [
        jax.grad(tb.truncate(f, tb.Segment(2), where=lambda loop, i=i: loop.number == i))(PARAMS) for i in (0, 1)
    ]
    assert distance(by_place, by_number) < 1e-13 and distance(*by_number) > 1e-3
    assert distance(jax.grad(tb.truncate(f, tb.Segment(2), where=T))(PARAMS), by_number[0]) > 1e-3  # both
    inner = tb.truncate(around_a_scan(lax.scan), tb.Segment(1), where=2)
    gates = jnp.asarray([1.0, 0.0])  # the initial state is what the outer scan carries

    def by_hand(p):
        def outer(h, x):
            h, ys = scan_by_definition(partial(step, p), h, jnp.stack([x, 2 * x]), gates=gates)
            return h, jnp.sum(ys)

        return jnp.sum(lax.scan(outer, jnp.ones((B, H)), XS)[1])

    assert distance(jax.grad(inner)(PARAMS), jax.grad(by_hand)(PARAMS)) < 1e-12


@pytest.mark.parametrize("branch", [0, 1])
def test_a_loop_in_one_branch_alone_is_cut(branch):
    """Loops are numbered through the branches: what is chosen in one is not cut in the other."""

    def f(p, second=lax.scan):
        return lax.switch(branch + 0 * jnp.argmax(p["u"]), [one(lax.scan), one(second)], p)

    gates = tb.Segment(2).gates(None, T, 1)[:, 0]
    ours = jax.grad(tb.truncate(f, tb.Segment(2), where=lambda loop: loop.number == 1))(PARAMS)
    by_hand = jax.grad(f)(PARAMS, partial(scan_by_definition, gates=gates))
    assert distance(ours, by_hand) < 1e-12


def test_arguments_and_results_of_all_kinds():
    def f(p, xs, *, scale, kind, extra=None):
        _, hs = lax.scan(partial(step, p), jnp.ones((B, H)), xs)
        return scale * jnp.sum(hs**2), {"kind": kind, "steps": len(xs), "argmax": jnp.argmax(hs), "none": None}

    cut = tb.truncate(f, tb.Segment(2))
    value, aux = cut(PARAMS, XS, scale=2, kind="a text")
    assert (value, aux) == f(PARAMS, XS, scale=2, kind="a text")
    (_, aux), grads = jax.value_and_grad(cut, has_aux=True)(PARAMS, XS, scale=2.0, kind=print)
    assert aux["kind"] is print and aux["steps"] == T
    donated = jax.jit(jax.grad(cut, has_aux=True), static_argnames="kind", donate_argnums=1)
    with pytest.raises((TypeError, AttributeError)):  # the second in words of JAX 0.10.0 that fail themselves
        donated(PARAMS, XS + 0, scale=2.0, kind="a text")  # jit cannot return a text, truncated or not
    jitted = jax.jit(lambda p, xs: jax.grad(lambda p: cut(p, xs, scale=2.0, kind="b")[0])(p), donate_argnums=1)
    assert distance(jitted(PARAMS, XS + 0), grads) < 1e-12
    whole = tb.truncate(
        lambda n: lax.scan(lambda h, _: (h * 0.5, None), 1.0 * n, None, length=3)[0].astype(int), tb.Full()
    )
    assert whole(8) == 1


def test_flags_lengths_types_and_texts_are_as_python_has_them():
    def f(w, xs, batch, *, train, turns, dtype):
        if train:
            w = 2 * w
        hs = lax.scan(lambda h, x: (jnp.tanh(w * h + x),) * 2, jnp.ones(H, dtype), xs[:turns])[1]
        return jnp.sum(hs * batch["scale"]) + len(batch["names"])

    given = {"scale": 0.5, "names": np.array(["a", "b"])}
    ours = jax.grad(tb.truncate(f, tb.Full()))(0.5, XS[:, 0], given, train=True, turns=3, dtype=jnp.float64)
    assert distance(ours, jax.grad(f)(0.5, XS[:, 0], given, train=True, turns=3, dtype=jnp.float64)) < 1e-12
    assert tb.scans(f)(0.5, XS[:, 0], given, train=False, turns=3, dtype=jnp.float64)[0].length == 3


@pytest.mark.parametrize("est", [tb.Segment(2), tb.Window(2), tb.ARTBP(2.0)], ids=str)
def test_a_loop_of_no_turns_is_what_it_is(est):
    def f(h):
        return jnp.sum(lax.scan(lambda h, x: (jnp.tanh(h + x),) * 2, h, XS[:0])[0] ** 2)

    start = jnp.full((B, H), 0.5)
    assert distance(jax.grad(tb.truncate(f, est, key=jax.random.key(0)))(start), jax.grad(f)(start)) == 0


def hidden_in_a_rule(p):
    @jax.custom_vjp
    def f(p):
        return one(lax.scan)(p)

    f.defvjp(lambda p: (f(p), p), lambda p, g: (jax.tree.map(lambda a: g * a, p),))
    return f(p)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: tb.truncate(lambda p: jnp.sum(p["w"]), tb.Full())(PARAMS), "matches no loop .*\nthere are no loops"),
        (
            lambda: tb.truncate(one(lax.scan), tb.Full(), where=99)(PARAMS),
            r"where=99 matches no loop of the program",
        ),
        (lambda: tb.truncate(one(lax.scan), tb.Full(), where=1.5)(PARAMS), "where must be a length, a text or a func"),
        (lambda: tb.truncate(one(lax.scan), tb.RTRL())(PARAMS), "an estimator that cuts, .* is needed, got rtrl"),
        (lambda: tb.truncate(one(lax.scan), tb.PES())(PARAMS), "an estimator that cuts, .* is needed, got pes"),
        (lambda: tb.truncate(one(lax.scan), tb.Segment)(PARAMS), "an estimator that cuts"),
        (lambda: tb.truncate(one(lax.scan), tb.Randomized(0.5))(PARAMS), "draws at random: pass key="),
        (lambda: tb.truncate(PARAMS, tb.Segment(2)), "a function is needed"),
        (
            lambda: tb.truncate(hidden_in_a_rule, tb.Full())(PARAMS),
            "custom_vjp_call, which has a derivative of",
        ),
        (
            lambda: tb.truncate(
                lambda x: lax.while_loop(lambda s: s < 3, lambda s: s * 2, x), tb.Full(), where=lambda loop: True
            )(1.0),
            "loop 0 cannot be cut: how often it turns depends on data",
        ),
        (
            lambda: tb.truncate(lambda n: lax.fori_loop(0, 5, lambda i, n: n + i, n), tb.Full(), where=5)(1),
            "it carries no floating-point numbers",
        ),
    ],
)
def test_what_cannot_be_is_said(make, words):
    with pytest.raises(tb.UserError, match=words):
        make()


@thorough
def test_under_transformations():
    """vmap over parameters and keys, forward mode, second derivatives."""
    f = tb.truncate(one(lax.scan), tb.Segment(2))
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), PARAMS)
    gradient = jax.jit(jax.grad(f))
    together = jax.vmap(gradient)(stacked)
    for i in range(2):
        alone = gradient(jax.tree.map(lambda a, i=i: a[i], stacked))
        assert distance(jax.tree.map(lambda a, i=i: a[i], together), alone) < 1e-12
    gates = tb.Segment(2).gates(None, T, 1)[:, 0]
    by_hand = one(partial(scan_by_definition, gates=gates))
    direction = jax.tree.map(jnp.ones_like, PARAMS)
    both = jax.jit(lambda at: [(jax.jvp(g, (at,), (direction,))[1], jax.hessian(g)(at)) for g in (f, by_hand)])
    (our_slope, our_hessian), (slope, hessian) = both(PARAMS)
    assert abs(our_slope - slope) < 1e-10
    assert distance(our_hessian, hessian) < 1e-10
    keys = jax.random.split(jax.random.key(0), 3)
    noisy = jax.jit(lambda key: jax.grad(tb.truncate(one(lax.scan), tb.ARTBP(2.0), key=key))(PARAMS))
    assert distance(jax.tree.map(lambda a: a[1], jax.vmap(noisy)(keys)), noisy(keys[1])) < 1e-12


SHARDED = """
import jax, jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P
import tbptt_jax as tb
jax.config.update("jax_enable_x64", True)
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
w, xs = jax.random.normal(jax.random.key(0), (3, 3)), jax.random.normal(jax.random.key(1), (6, 8, 3))

def local(w, xs):
    start = jnp.ones(xs.shape[1:]) + 0 * xs[0]
    return lax.scan(lambda h, x: (jnp.tanh(h @ w + x),) * 2, start, xs)[1]

def whole(w):
    return jnp.sum(local(w, xs) ** 2)

def spread(w):
    mapped = jax.shard_map(local, mesh=mesh, in_specs=(P(), P(None, "data")), out_specs=P(None, "data"))
    return jnp.sum(mapped(w, xs) ** 2)

for est in (tb.Full(), tb.Segment(2), tb.Window(3)):
    alone, together = (jax.jit(jax.grad(tb.truncate(f, est)))(w) for f in (whole, spread))
    assert float(jnp.max(jnp.abs(alone - together))) < 1e-10, est
"""


@thorough
def test_a_scan_inside_a_shard_map_is_cut():
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
