"""Both modes of differentiation and every order: one cut linear map; and what else `lax.scan` takes."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import tbptt_jax as tb
from tbptt_jax.gradients.cuts.definition import scan_by_definition
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Blocks, Gates, Lags
from tests.gradients.test_scan import GATES, H0, XS, T, W, gradients
from tests.problems import distance
from tests.tiers import cases

CUTS = {
    "none": Gates(None),
    "gates [T]": Gates(GATES["[T]"]),
    "gates [T, B]": Gates(GATES["[T, B]"]),
    "segments": Blocks(3, 3),
    "segments from an offset": Blocks(3, 3, 1, whole=False),
    "overlapping blocks": Blocks(4, 2),
    "one long block": Blocks(20, 5),
    "window of 1": Lags(1),
    "window of 3": Lags(3),
    "window of all": Lags(100),
    "weighted lags": Lags(4, jnp.arange(1.0, T + 1)),
}


OF_SECOND_ORDER = [  # one of every kind, those of one step and of all steps left out
    *("none", "gates [T, B]", "segments from an offset", "overlapping blocks", "one long block", "window of 3"),
    "weighted lags",
]


AT_ONCE = ("gates [T, B]", "overlapping blocks", "weighted lags")


@pytest.fixture(params=cases(CUTS, AT_ONCE))
def cut(request):
    return CUTS[request.param]


def outputs(scan):
    """Final state and outputs by weights, initial state and inputs."""

    def program(w, h0, xs):
        def f(h, x):
            h = jnp.tanh(h @ w.T + x)
            return h, h * x

        return scan(f, h0, xs)

    return program


def inner(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def drawn_like(tree, seed):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(structure, [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)])


def test_the_two_modes_are_one_linear_map(cut):
    """⟨c, push t⟩ = ⟨pull c, t⟩, for all arguments and for each alone; the linearized program is the same."""
    program = outputs(lambda f, init, xs: cut_scan(f, init, xs, cut))
    out = jax.eval_shape(program, W, H0, XS)
    tangents, cotangents = drawn_like((W, H0, XS), 1), drawn_like(out, 2)

    @jax.jit
    def moved_and_pulled(w, h0, xs):
        moved = jax.jvp(program, (w, h0, xs), tangents)[1]
        return moved, jax.vjp(program, w, h0, xs)[1](cotangents)

    @jax.jit
    def each_alone(*at):
        pairs = []
        for i in range(3):
            alone = tuple(jnp.zeros_like(t) if j != i else t for j, t in enumerate(tangents))
            one = lambda a, i=i: program(*[a if j == i else b for j, b in enumerate(at)])  # noqa: E731
            pairs.append((jax.jvp(program, at, alone)[1], jax.jvp(one, (at[i],), (tangents[i],))[1]))
        return pairs

    moved, bars = moved_and_pulled(W, H0, XS)
    assert abs(inner(moved, cotangents) - inner(bars, tangents)) < 1e-12 * (1 + abs(inner(bars, tangents)))
    linearized = jax.jit(lambda *at: jax.linearize(program, *at)[1](*tangents))(W, H0, XS)
    assert distance(linearized, moved) < 1e-13
    for by_zeros, by_one in each_alone(W, H0, XS):
        assert distance(by_zeros, by_one) < 1e-13


def test_forward_mode_is_that_of_the_definition():
    tangents = drawn_like((W, H0, XS), 3)
    moved = lambda scan: jax.jit(lambda *at: jax.jvp(outputs(scan), at, tangents))(W, H0, XS)  # noqa: E731
    segments = tb.Segment(3).gates(None, T, 1)[:, 0]
    for cut, gates in [*((Gates(gates), gates) for gates in GATES.values()), (Blocks(3, 3), segments)]:
        ours = moved(lambda f, init, xs, cut=cut: cut_scan(f, init, xs, cut))
        assert distance(ours, moved(partial(scan_by_definition, gates=gates))) < 1e-12
    assert distance(moved(lambda f, init, xs: cut_scan(f, init, xs, Lags(100))), moved(lax.scan)) < 1e-12


@pytest.mark.parametrize("name", cases(OF_SECOND_ORDER, ["overlapping blocks"]))
def test_every_way_to_a_hessian_is_the_same(name):
    """Forward over reverse, reverse over reverse, forward over forward; under jit and vmap."""
    program = outputs(lambda f, init, xs: cut_scan(f, init, xs, CUTS[name]))
    number = lambda w: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(program(w, H0, XS)))  # noqa: E731
    direction = drawn_like(W, 4)

    @jax.jit
    def all_ways(w):
        twice = jax.jvp(lambda w: jax.jvp(number, (w,), (direction,))[1], (w,), (direction,))[1]
        hessian = jax.hessian(number)
        return hessian(w), jax.jacrev(jax.grad(number))(w), twice, jax.vmap(hessian)(jnp.stack([w, 2 * w]))

    hessian, reverse, twice, stacked = all_ways(W)
    assert distance(reverse, hessian) < 1e-11
    assert abs(twice - jnp.einsum("ij,ijkl,kl", direction, hessian, direction)) < 1e-10 * (1 + abs(twice))
    assert distance(stacked[0], hessian) < 1e-11


def test_forward_over_reverse_of_a_traced_window():
    def hessian(tau):
        program = outputs(lambda f, init, xs: cut_scan(f, init, xs, Lags(tau)))
        return jax.hessian(lambda w: jnp.sum(jnp.sin(program(w, H0, XS)[1])))(W)

    assert distance(*jax.jit(lambda tau: (hessian(tau), hessian(3)))(3)) < 1e-12


@pytest.mark.parametrize("truncation", [tb.Full(), tb.Segment(2), tb.Window(2), tb.Buffered(4, 2)], ids=str)
def test_leaves_without_numbers_are_no_trouble(truncation):
    """`xs` of shape [T, 0], a state with an empty leaf, in both modes and at more steps than a stretch."""

    def program(w):
        def step(state, x):
            h = jnp.tanh(w * state["h"] + jnp.sum(x["nothing"]))
            return {"h": h, "empty": state["empty"]}, h

        start = {"h": jnp.ones(2), "empty": jnp.ones((0, 3))}
        return tb.scan(step, start, {"nothing": jnp.ones((70, 0))}, truncation=truncation)[1]

    both = jax.jit(lambda w: (jax.jvp(program, (w,), (1.0,))[1].sum(), jax.grad(lambda w: jnp.sum(program(w)))(w)))
    assert distance(*both(0.7)) < 1e-12


@pytest.mark.parametrize("unroll", [0, 1, 3, True, False])
def test_unrolls_as_lax_scan_does(unroll):
    ours, theirs = (partial(scan, unroll=unroll) for scan in (partial(tb.scan, truncation=tb.Full()), lax.scan))
    assert distance(gradients(ours), gradients(theirs)) < 1e-12


def test_small_floats_and_effects(capsys):
    """bfloat16 in the state, a print in the step: as often forward as in lax.scan."""

    def program(w):
        def step(h, x):
            jax.debug.print("step {x}", x=x)
            return (w * h + x).astype(jnp.bfloat16), h

        return jnp.sum(tb.scan(step, jnp.ones(2, jnp.bfloat16), jnp.arange(3.0), truncation=tb.Segment(2))[1])

    grad = jax.grad(program)(0.5)
    jax.effects_barrier()
    assert jnp.isfinite(grad) and capsys.readouterr().out.count("step") == 3


def test_the_same_mistakes_are_the_same_errors():
    mistakes = (
        (lambda h, x: (h, x), 1.0, None, {}),
        (lambda h, x: (jnp.ones(3), x), jnp.ones(2), jnp.ones(4), {}),
        (lambda h, x: (h, x), 1.0, (jnp.ones(3), jnp.ones(4)), {}),
        (lambda h, x: (h, x), 1.0, jnp.ones(3), {"length": 4}),
    )
    for f, init, xs, more in mistakes:
        with pytest.raises(Exception) as theirs:
            lax.scan(f, init, xs, **more)
        with pytest.raises(type(theirs.value)) as ours:
            tb.scan(f, init, xs, truncation=tb.Segment(2), **more)
        assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]


def test_what_is_shared_by_a_batch_of_cuts_gets_the_sum_of_their_cotangents():
    gates = jnp.stack([GATES["[T]"], GATES["[T]"] ** 2, 1 - GATES["[T]"]])

    def loss(w, gates):
        final, ys = outputs(partial(tb.scan, gates=gates))(w, H0, XS)
        return jnp.sum(jnp.sin(ys)) + jnp.sum(final**2)

    together = jax.jit(jax.grad(lambda w: jnp.sum(jax.vmap(loss, (None, 0))(w, gates))))(W)
    assert distance(together, sum(jax.grad(loss)(W, g) for g in gates)) < 1e-12
