"""The rest of the methods that go forward in time: over all sign patterns, by hand, and as each other's ends."""

import dataclasses
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tbptt_jax.estimators.base import warmed_up
from tbptt_jax.estimators.ok import fewer, least_variance
from tests.estimators.test_influence import Chain, by_recursion, matrices, stream_gradient
from tests.estimators.test_perturbation import mean_over_noise
from tests.problems import BATCH, HIDDEN, INPUTS, distance, full_gradient, problem, scaled, total


def with_given_noise(est):
    """The estimator with its noise in the place of its key."""
    kind = type(est)
    given = type(f"Given{kind.__name__}", (kind,), {"name": f"given_{kind.name}", "noise": lambda s, key, *_: key})
    return given(**{field.name: getattr(est, field.name) for field in dataclasses.fields(est)})


@cache
def over_all_signs(est, name, length, chunks=1):
    """The flat estimates `[N, P]` of a short sequence of one batch row, one for each pattern of signs; and the exact
    gradient."""
    model, params, batch = problem(name)
    batch = jax.tree.map(lambda leaf: leaf[:length, :1], batch._replace(weights=batch.weights + 0.1))
    dynamics = est.dynamics(model, params, model.initial_state(params, 1), batch.inputs[0])
    shape = jax.eval_shape(lambda: est.noise(jax.random.key(0), (length, 1), dynamics)).shape
    signs = jnp.asarray(list(product((-1.0, 1.0), repeat=int(np.prod(shape))))).reshape(-1, *shape)
    given = with_given_noise(est)

    @jax.jit
    def estimates(params):
        def one(signs):
            carry, parts = given.init(model, params, batch, None), []
            for i in range(chunks):
                part = slice(i * length // chunks, (i + 1) * length // chunks)
                chunk = jax.tree.map(lambda leaf, part=part: leaf[part], batch)
                estimate, carry = given(model, params, carry, chunk, signs[part])
                parts.append(scaled(jnp.sum(chunk.weights) / jnp.sum(batch.weights), estimate.grads))
            return ravel_pytree(total(parts))[0]

        return jax.lax.map(one, signs, batch_size=256)

    exact = ravel_pytree(jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch))[0]
    return np.asarray(estimates(params)), np.asarray(exact)


UNBIASED = [
    (tb.UORO(rank=2), "tanh", 2, 1),
    (tb.NoBackTrack(), "tanh", 4, 2),
    (tb.RKFRTRL(), "tanh", 4, 2),
    (tb.RKFRTRL(), "lstm", 1, 1),
    (tb.OK(1), "tanh", 5, 1),
    (tb.OK(2), "tanh", 4, 2),
    (tb.OK(1), "lstm", 4, 1),
]


@pytest.mark.parametrize(("est", "name", "length", "chunks"), UNBIASED, ids=str)
def test_the_mean_over_all_sign_patterns_is_the_exact_gradient(est, name, length, chunks):
    found, exact = over_all_signs(est, name, length, chunks)
    assert np.max(np.abs(found.mean(0) - exact)) < 1e-10
    assert length == 1 or np.max(found.std(0)) > 1e-6  # a single estimate is not


def test_ok_has_less_variance_than_kf_rtrl_and_less_with_a_higher_rank():
    """Exactly: over all signs of the same problem."""

    def variance(est):
        return np.sum(over_all_signs(est, "tanh", 4)[0].var(0))

    kf, one, two = variance(tb.KFRTRL()), variance(tb.OK(1)), variance(tb.OK(2))
    assert two < one < kf


def test_the_mean_of_two_products_has_half_the_variance():
    one, two = (np.sum(over_all_signs(tb.UORO(rank=r), "tanh", 2)[0].var(0)) for r in (1, 2))
    assert two == pytest.approx(one / 2, rel=1e-10)


@pytest.mark.parametrize("values", [[1.0, 0.9, 0.8], [5.0, 0.2, 0.1], [1.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0]])
def test_the_cut_to_fewer_products_is_unbiased_and_its_variance_is_the_least(values):
    """The mean over signs; and the variance of Benzing et al.: the k + 1 smallest values share k places evenly."""
    values = np.array(values)
    mixed = np.asarray(least_variance(jnp.asarray(values)))
    q = len(values)
    assert mixed.shape == (q, q - 1)
    found = []
    for signs in product([-1.0, 1.0], repeat=q):
        signed = np.array(signs)[:, None] * mixed
        found.append(signed @ signed.T)
    assert np.max(np.abs(np.mean(found, 0) - np.diag(values))) < 1e-12
    variance = np.mean([np.sum((one - np.diag(values)) ** 2) for one in found])
    bounds = []
    for m in range(q - 1):  # the m largest kept: at least this for the others, where it can be had
        rest = values[m:]
        if rest[0] * (q - 1 - m) <= rest.sum() + 1e-12:
            bounds.append(rest.sum() ** 2 / (q - 1 - m) - np.sum(rest**2))
    assert variance == pytest.approx(min(bounds), abs=1e-12)


def test_the_cut_keeps_what_fits():
    """Two products, one of which is nothing: the other is kept, whatever the sign."""
    draw = np.random.default_rng(0)
    left, right = (jnp.asarray(draw.normal(size=(2, n)) * [[1.0], [0.0]]) for n in (3, 4))
    for signs in product([-1.0, 1.0], repeat=2):
        a, b = fewer(left, right, jnp.asarray(signs))
        assert np.max(np.abs(a.T @ b - left.T @ right)) < 1e-12


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


@pytest.mark.parametrize("name", ["tanh", "lstm", "gru"])
def test_kernl_that_does_not_learn_is_rflo(name):
    model, params, batch = problem(name)
    ours = tb.gradient(tb.KeRNL(leak=0.7, rate=0.0), model, params, batch, jax.random.key(0))
    assert distance(ours, tb.gradient(tb.RFLO(0.7), model, params, batch)) < 1e-12


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


@pytest.mark.parametrize("name", ["tanh", "gru", "lstm", "two layers"])
def test_a_sketch_of_full_rank_is_rtrl(name):
    assert distance(stream_gradient(tb.Sketched(100), name, 3), full_gradient(name)) < 1e-10


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


DIAGONAL = ["lru", "elstm", "mingru"]


@pytest.mark.parametrize("cell", DIAGONAL)
def test_rtrl_of_a_diagonal_cell_is_full_backpropagation_in_as_many_numbers_as_parameters(cell):
    model = tb.rnn(cell, 3, 6, 2, "squared")
    params = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    batch = tb.Batch(jax.random.normal(keys[0], (9, 2, 3)), jax.random.normal(keys[1], (9, 2, 2)))
    exact = tb.gradient(tb.Full(), model, params, batch)
    assert distance(tb.gradient(tb.RTRL(), model, params, batch), exact) < 1e-12
    n = 2 if cell == "lru" else 1  # of complex units, a weight reaches the other part with the next step
    assert distance(tb.gradient(tb.SnAp(n), model, params, batch), exact) < 1e-12
    carried = tb.RTRL().init(model, params, batch, None).influence.size / 2
    weights = sum(leaf.size for leaf in jax.tree.leaves(params["cell"]))
    assert carried <= 2 * weights  # two numbers of a unit: real and imaginary, or c and h


@pytest.mark.parametrize("cell", DIAGONAL)
def test_rtrl_of_a_diagonal_cell_costs_in_proportion_to_its_parameters(cell):
    def operations(hidden):
        model = tb.rnn(cell, 4, hidden, 2)
        params = model.init(jax.random.key(0))
        batch = tb.Batch(jnp.zeros((2, 1, 4)), jnp.zeros((2, 1), int))
        weights = sum(leaf.size for leaf in jax.tree.leaves(params["cell"]))
        est = tb.RTRL()
        return count(lambda p: est(model, p, est.init(model, p, batch, None), batch, None), params)[0] / weights

    assert operations(64) / operations(16) < 1.2  # a dense one has four times the operations a parameter


def test_a_stack_of_diagonal_cells_is_exact_too():
    """Layers read what is new, so that a weight reaches its unit and all of the layers above at once, and no more."""
    model = tb.rnn("elstm", 3, 4, 2, "squared", layers=2)
    params = model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 2)
    batch = tb.Batch(jax.random.normal(keys[0], (9, 2, 3)), jax.random.normal(keys[1], (9, 2, 2)))
    exact = tb.gradient(tb.Full(), model, params, batch)
    assert distance(tb.gradient(tb.RTRL(), model, params, batch), exact) < 1e-12
    assert distance(tb.gradient(tb.SnAp(1), model, params, batch), exact) < 1e-12


def test_a_chain_whose_parameters_reach_most_units_is_held_densely():
    model = Chain()
    params = model.init(jax.random.key(0))
    batch = tb.Batch(jnp.ones((5, 1, 1)), jnp.ones((5, 1, 4)))
    assert tb.RTRL().init(model, params, batch, None).influence.shape == (1, 4, 8)


def test_an_odd_number_of_units_is_refused_by_lru():
    with pytest.raises(tb.UserError, match="hidden: an even number"):
        tb.rnn("lru", 2, 5, 2)


@pytest.mark.parametrize("reuse", [1, 2, 3])
def test_gpes_has_the_mean_of_the_whole_stream(reuse):
    mean, exact = mean_over_noise(tb.GPES, 3, reuse=reuse)
    assert mean == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("reuse", "other"), [(1, tb.PES), (10**6, tb.NRES)])
def test_the_ends_of_gpes_are_pes_and_nres(reuse, other):
    model, params, batch = problem("tanh")

    def stream(est):
        carry, parts = est.init(model, params, batch, None), []
        for i in range(4):
            estimate, carry = est(model, params, carry, batch, jax.random.key(i))
            parts.append(estimate.grads)
        return parts

    for ours, theirs in zip(stream(tb.GPES(0.1, 3, reuse=reuse)), stream(other(0.1, 3))):
        assert distance(ours, theirs) == 0


def test_unlocked_particles_start_anew_at_their_own_times():
    model, params, batch = problem("tanh")
    est = tb.NRES(0.1, 4, chunks=4, unlocked=True)
    carry, before = est.init(model, params, batch, None), None
    for i in range(8):
        _, carry = est(model, params, carry, batch, jax.random.key(i))
        changed = None if before is None else np.any(np.asarray(carry.vectors) != before, axis=1)
        before = np.asarray(carry.vectors)
        if changed is not None and i >= 4:
            assert changed.tolist() == [(i + place) % 4 == 0 for place in range(4)]
    assert np.all(np.any(before != 0, axis=1))
    with pytest.raises(tb.UserError, match="unlocked"):
        tb.PES(unlocked=True)


@pytest.mark.parametrize("est", [tb.OK(), tb.RKFRTRL(), tb.EProp()], ids=str)
def test_what_needs_one_sum_names_the_cells_that_it_takes(est):
    with pytest.raises(tb.UserError, match=f"{est.name}: a model rnn"):
        est.init(*problem("gru"), None)


def test_by_recursion_of_nothing_is_the_direct_part():
    """The oracle itself: what RFLO(0) is."""
    assert distance(stream_gradient(tb.RFLO(0.0), "tanh", 1), by_recursion("tanh", lambda j, f, m: f)) < 1e-12
