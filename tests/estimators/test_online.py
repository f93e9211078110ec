"""The rest of the methods that go forward in time: by hand, and as each other's ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.estimators.base import warmed_up
from tests.estimators.test_influence import by_recursion, matrices, stream_gradient
from tests.estimators.test_signs import with_given_noise
from tests.problems import BATCH, HIDDEN, INPUTS, QUICK, distance, full_gradient, problem, scaled
from tests.tiers import cases, thorough


def reverse_kf_by_hand(signs):
    """The recursion of `r_kf_rtrl` on the tanh problem's first sequence, in NumPy: a_i B_kj."""
    _, params, batch = problem("tanh")
    jacobian, _, e, _, _ = matrices("tanh")
    cell = {name: np.asarray(leaf) for name, leaf in params["cell"].items()}
    h, a, b = np.zeros(HIDDEN), np.zeros(HIDDEN), np.zeros((HIDDEN, INPUTS + HIDDEN + 1))
    gradient, epsilon = np.zeros((HIDDEN, INPUTS + HIDDEN + 1)), 1e-7

    def size(v):
        return np.linalg.norm(v) + epsilon

    for t, nu in enumerate(signs):
        inputs = np.concatenate([np.asarray(batch.inputs[t, 0]), h, [1.0]])
        h = np.tanh(cell["W_hx"] @ inputs[:INPUTS] + cell["W_hh"] @ h + cell["b_h"])
        direct = np.outer(nu * (1 - h**2), inputs)
        pushed = jacobian[t, 0] @ b
        rho_0, rho_1 = np.sqrt(size(a) / size(pushed)), np.sqrt(size(direct) / size(nu))
        a, b = a / rho_0 + rho_1 * nu, rho_0 * pushed + direct / rho_1
        gradient += np.outer(a, e[t, 0] @ b)
    return gradient


def test_reverse_kf_rtrl_by_hand():
    model, params, batch = problem("tanh")
    signs = np.random.default_rng(2).choice([-1.0, 1.0], (len(batch.inputs), HIDDEN))
    est = with_given_noise(tb.RKFRTRL())
    noise = jnp.zeros((len(signs), BATCH, 1, HIDDEN)).at[:, 0, 0].set(signs)
    alone = batch._replace(weights=batch.weights.at[:, 1:].set(0.0))
    share = jnp.sum(batch.weights) / jnp.sum(alone.weights)  # e of the whole batch has the other total
    grads, _ = est(model, params, est.init(model, params, batch, None), alone, noise)
    ours = np.concatenate([grads.grads["cell"][n].reshape(HIDDEN, -1) for n in ("W_hx", "W_hh", "b_h")], axis=1)
    assert np.max(np.abs(ours - share * reverse_kf_by_hand(signs))) < 1e-10


def kernl_by_hand(noise, leak, rate, sigma):
    """The recursion of `kernl` on the tanh problem's first sequence, in NumPy, in dense matrices."""
    _, params, batch = problem("tanh")
    _, direct, e, _, restore = matrices("tanh")
    cell = {name: np.asarray(leaf) for name, leaf in params["cell"].items()}

    def flow(h, x):
        return np.tanh(cell["W_hx"] @ x + cell["W_hh"] @ h + cell["b_h"])

    h, away, filtered, slope = (np.zeros(HIDDEN) for _ in range(4))
    spread, rates, trace, gradient = np.eye(HIDDEN), np.full(HIDDEN, -np.log(leak)), 0.0, 0.0
    for t, xi in enumerate(noise):
        leaks, x = np.exp(-rates), np.asarray(batch.inputs[t, 0])
        trace = direct[t, 0] + leaks[:, None] * trace
        away = (flow(h + sigma * away, x) - flow(h, x)) / sigma + xi
        slope = leaks * slope - leaks * filtered
        filtered = leaks * filtered + xi
        error = away - spread @ filtered
        new_spread = spread + rate * np.outer(error, filtered)
        rates = np.maximum(rates + rate * (error @ spread) * slope, 0)
        spread, h = new_spread, flow(h, x)
        gradient = gradient + e[t, 0] @ spread @ trace
    return restore(jnp.asarray(gradient))


def test_kernl_by_hand():
    model, params, batch = problem("tanh")
    noise = np.random.default_rng(3).normal(size=(len(batch.inputs), BATCH, HIDDEN))
    est = with_given_noise(tb.KeRNL(leak=0.6, rate=0.05, sigma=0.1))
    alone = batch._replace(weights=batch.weights.at[:, 1:].set(0.0))
    share = jnp.sum(batch.weights) / jnp.sum(alone.weights)
    estimate, _ = est(model, params, est.init(model, params, batch, None), alone, jnp.asarray(noise))
    expected = scaled(share, kernl_by_hand(noise[:, 0], 0.6, 0.05, 0.1))
    assert distance(estimate.grads["cell"], expected) < 1e-10


@pytest.mark.parametrize("name", cases(["tanh", "lstm", "gru"], QUICK))
def test_kernl_that_does_not_learn_is_rflo(name):
    model, params, batch = problem(name)
    ours = tb.gradient(tb.KeRNL(leak=0.7, rate=0.0), model, params, batch, jax.random.key(0))
    assert distance(ours, tb.gradient(tb.RFLO(0.7), model, params, batch)) < 1e-12


@thorough
def test_kernl_learns_how_perturbations_spread():
    """In a linear network with one unit that leaks into another, the spread has the sign of the weight between."""
    task = tb.Copy(length=50, batch_size=1, longest=2)
    model = task.model("linear", 2)
    params = model.init(jax.random.key(0))
    w = jnp.asarray([[0.5, 0.0], [0.4, 0.5]])
    params = params | {"cell": params["cell"] | {"W_hh": w}}
    est = tb.KeRNL(rate=0.01)
    carry = jax.jit(lambda: warmed_up(est, model, params, task.batch(jax.random.key(1)), jax.random.key(2), 100))()
    spread = carry.influence.spread[0]
    assert spread[1, 0] > 0.1 > abs(spread[0, 1])


def test_eprop_of_tanh_units_drops_the_past():
    assert distance(stream_gradient(tb.EProp(), "tanh", 3), stream_gradient(tb.RFLO(0.0), "tanh", 3)) < 1e-12


def test_eprop_leaves_the_recurrent_weights_out():
    """By hand: of J, what is left where the sums are held: the forget gates."""
    model, params, batch = problem("lstm")
    forget = forget_gates(model, params, batch)

    def carry_on(t, b, direct, influence):
        keep = np.zeros((2 * HIDDEN, 2 * HIDDEN))
        keep[HIDDEN:, HIDDEN:] = np.diag(forget["c"][t, b])
        keep[:HIDDEN, HIDDEN:] = np.diag(forget["h"][t, b])
        return direct + keep @ influence

    _, direct, e, readout, restore = matrices("lstm")
    flat = 0.0
    for b in range(BATCH):
        influence = np.zeros(direct.shape[2:])
        for t in range(len(e)):
            influence = carry_on(t, b, direct[t, b], influence)
            flat = flat + e[t, b] @ influence
    by_hand = readout | {"cell": restore(jnp.asarray(flat))}
    assert distance(stream_gradient(tb.EProp(), "lstm", 3), by_hand) < 1e-12


def forget_gates(model, params, batch):
    """∂c_t/∂c_{t−1} = f and ∂h_t/∂c_{t−1} = o (1 − tanh²c_t) f, step by step."""
    state, found = model.initial_state(params, BATCH), {"c": [], "h": []}
    cell = params["cell"]
    for x in batch.inputs:
        summed = x @ cell["W_hx"].T + state[0] @ cell["W_hh"].T + cell["b_h"]
        _, f, o, _ = (jax.nn.sigmoid(part) for part in jnp.split(summed, 4, axis=-1))
        state = model.step(params, state, x)
        found["c"].append(f)
        found["h"].append(o * (1 - jnp.tanh(state[1]) ** 2) * f)
    return {name: np.asarray(jnp.stack(rows)) for name, rows in found.items()}


@pytest.mark.parametrize("name", cases(["tanh", "gru", "lstm", "two layers"], QUICK))
def test_a_sketch_of_full_rank_is_rtrl(name):
    assert distance(stream_gradient(tb.Sketched(100), name, 3), full_gradient(name)) < 1e-10


@thorough
def test_a_sketch_is_nearer_than_snap_and_its_bound_holds():
    """Along the sequence: the error of the influence against its running bound, and of the gradient against Σ ‖e‖ b."""
    model, params, batch = problem("two layers")
    est = tb.Sketched(1)
    jacobian_free = tb.RTRL()
    sketch, exact = (one.init(model, params, batch, None) for one in (est, jacobian_free))
    bounds = []
    for t in range(len(batch.inputs)):
        one = jax.tree.map(lambda leaf, t=t: leaf[t : t + 1], batch)
        _, sketch = est(model, params, sketch, one, None)
        _, exact = jacobian_free(model, params, exact, one, None)
        s = sketch.influence
        away = np.linalg.norm(s.sparse + s.left @ s.right - exact.influence, axis=(1, 2))
        assert np.all(away <= np.asarray(s.error) + 1e-12)
        bounds.append(s.error)
    assert np.max(bounds) > 1e-3
    found = [tb.gradient(one, model, params, batch) for one in (tb.Sketched(2), tb.SnAp(1))]
    near, far = (np.linalg.norm(ravel_pytree(g)[0] - ravel_pytree(full_gradient("two layers"))[0]) for g in found)
    assert near < far


@pytest.mark.parametrize("est", [tb.OK(), tb.RKFRTRL(), tb.EProp()], ids=str)
def test_what_needs_one_sum_names_the_cells_that_it_takes(est):
    with pytest.raises(tb.UserError, match=f"{est.name}: a model rnn"):
        est.init(*problem("gru"), None)


def test_by_recursion_of_nothing_is_the_direct_part():
    """The oracle itself: what RFLO(0) is."""
    assert distance(stream_gradient(tb.RFLO(0.0), "tanh", 1), by_recursion("tanh", lambda j, f, m: f)) < 1e-12
