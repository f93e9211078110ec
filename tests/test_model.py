"""Models, cells and losses; the linear model against the chapter's closed forms, in NumPy."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.cells import spectral_radius
from tests.problems import BATCH, HIDDEN, INPUTS, LENGTH, OUTPUTS, QUICK, distance, estimates, problem
from tests.tiers import cases


def test_the_linear_model_has_the_closed_form_of_the_chapter():
    """∂L/∂h_t = Σ_i (W_hhᵀ)^{T−i} W_qhᵀ ∂L/∂o_{T+t−i}, and the parameters' gradients; window and segment too."""
    model = tb.rnn("linear", INPUTS, HIDDEN, OUTPUTS, "squared")
    params = model.init(jax.random.key(0))
    _, _, batch = problem("tanh")
    w_hx, w_hh, w_qh = (
        np.asarray(a) for a in (params["cell"]["W_hx"], params["cell"]["W_hh"], params["readout"]["W_qh"])
    )
    x, y, weights = (np.asarray(a) for a in batch[:3])
    h = [np.zeros((BATCH, HIDDEN))]
    for t in range(LENGTH):
        h.append(x[t] @ w_hx.T + h[-1] @ w_hh.T)
    o = np.stack(h[1:]) @ w_qh.T
    do = (weights[..., None] * (o - y)) / weights.sum()

    def closed_form(reaches):
        dh = [
            sum(do[i] @ w_qh @ np.linalg.matrix_power(w_hh, i - t) for i in range(t, LENGTH) if reaches(i, t))
            for t in range(LENGTH)
        ]
        return {
            "cell": {
                "W_hh": sum(d.T @ before for d, before in zip(dh, h)),
                "W_hx": sum(d.T @ v for d, v in zip(dh, x)),
            },
            "readout": {"W_qh": sum(d.T @ after for d, after in zip(do, h[1:]))},
        }

    def gradient(est):
        return est(model, params, model.initial_state(params, BATCH), batch, None)[0].grads

    assert "b_q" not in params["readout"] and "b_h" not in params["cell"]
    assert distance(gradient(tb.Full()), closed_form(lambda i, t: True)) < 1e-12
    assert distance(gradient(tb.Window(3)), closed_form(lambda i, t: i - t < 3)) < 1e-12
    assert distance(gradient(tb.Segment(4)), closed_form(lambda i, t: i // 4 == t // 4)) < 1e-12


@pytest.mark.parametrize("name", cases(["tanh", "two layers", "nnx"], ["tanh"]))
def test_states_carried_over_chunks_equal_the_unchunked_pass(name):
    model, params, batch = problem(name)
    for est in (tb.Full(), tb.Segment(2), tb.Window(2), tb.Randomized(0.5)):
        carry, losses, totals = est.init(model, params, batch, None), [], []
        estimated = jax.jit(partial(est, model))
        for i in range(0, LENGTH, 2):
            chunk = jax.tree.map(lambda leaf, i=i: leaf[i : i + 2], batch)
            estimate, carry = estimated(params, carry, chunk, jax.random.key(i))
            losses.append(estimate.loss * chunk.weights.sum())
            totals.append(chunk.weights.sum())
        assert abs(sum(losses) / sum(totals) - tb.loss(model, params, batch)) < 1e-12
        state = model.initial_state(params, BATCH)
        for x in batch.inputs:
            state = model.step(params, state, x)
        assert distance(carry, state) < 1e-12
        if name != "tanh":
            break  # the carry is the same code for all of them


def test_a_loss_at_the_last_step_only():
    model, params, batch = problem("gru")
    batch = batch._replace(weights=jnp.zeros((LENGTH, BATCH)).at[-1].set(1.0))
    state = model.initial_state(params, BATCH)
    for x in batch.inputs:
        state = model.step(params, state, x)
    expected = jnp.mean(model.losses(model.readout(params, state), batch.targets[-1]))
    assert abs(tb.loss(model, params, batch) - expected) < 1e-12
    first_chunk = jax.tree.map(lambda leaf: leaf[:3], batch)
    estimate, _ = tb.Full()(model, params, model.initial_state(params, BATCH), first_chunk, None)
    assert estimate.loss == 0 and distance(estimate.grads, jax.tree.map(jnp.zeros_like, params)) == 0


def test_no_weights_are_weights_of_one():
    model, params, batch = problem("tanh")
    ones = batch._replace(weights=jnp.ones((LENGTH, BATCH)))
    assert abs(tb.loss(model, params, batch._replace(weights=None)) - tb.loss(model, params, ones)) < 1e-14


@pytest.mark.parametrize("cell", cases(["linear", "tanh", "gru", "lstm"], QUICK))
def test_initialisation_has_the_chosen_radius_or_is_orthogonal(cell):
    scaled = tb.rnn(cell, 4, 8, 2, radius=0.7).init(jax.random.key(0))["cell"]["W_hh"]
    for block in jnp.split(scaled, scaled.shape[0] // 8):
        assert abs(spectral_radius(block) - 0.7) < 1e-12
    turned = tb.rnn(cell, 4, 8, 2, orthogonal=True, radius=1.5).init(jax.random.key(0))["cell"]["W_hh"]
    for block in jnp.split(turned, turned.shape[0] // 8):
        assert distance(block @ block.T, 2.25 * jnp.eye(8)) < 1e-12


def test_the_gru_interpolates_between_its_state_and_a_candidate():
    """By hand, in NumPy, with the reset gate before the recurrent matrix."""
    cell = tb.rnn("gru", INPUTS, HIDDEN, OUTPUTS).cell
    params = jax.tree.map(lambda a: a + 0.1, cell.init(jax.random.key(0)))
    x, h = jax.random.normal(jax.random.key(1), (1, INPUTS)), jax.random.normal(jax.random.key(2), (1, HIDDEN))
    wx, wh, b = (np.split(np.asarray(params[name]), 3) for name in ("W_hx", "W_hh", "b_h"))
    reset, update = (1 / (1 + np.exp(-(x @ wx[i].T + h @ wh[i].T + b[i]))) for i in (0, 1))
    candidate = np.tanh(x @ wx[2].T + (reset * h) @ wh[2].T + b[2])
    assert distance(cell.step(params, h, x), update * h + (1 - update) * candidate) < 1e-12


def test_a_stack_feeds_each_layer_the_output_of_the_one_below():
    cell = tb.rnn("lstm", INPUTS, HIDDEN, OUTPUTS, layers=2).cell
    params = cell.init(jax.random.key(0))
    x, state = jnp.ones((BATCH, INPUTS)), cell.initial_state(params, BATCH)
    first = cell.layers[0].step(params[0], state[0], x)
    second = cell.layers[1].step(params[1], state[1], first[0])
    assert distance(cell.step(params, state, x), (first, second)) == 0
    assert distance(cell.output((first, second)), second[0]) == 0


def test_a_users_own_cell_is_taken_as_class_and_as_instance():
    """Weights of its own, by `Cell`; drawn with a radius, by `Layer`."""

    @dataclass(frozen=True)
    class Leaky(tb.SummedLayer):
        name = "leaky"

        def activate(self, state, summed):
            return 0.9 * state + 0.1 * jnp.tanh(summed)

    by_class = tb.rnn(Leaky, INPUTS, HIDDEN, OUTPUTS, radius=0.5)
    assert (
        by_class.cell == Leaky(INPUTS, HIDDEN, 0.5) == tb.rnn(Leaky(INPUTS, HIDDEN, 0.5), INPUTS, HIDDEN, OUTPUTS).cell
    )
    assert abs(spectral_radius(by_class.init(jax.random.key(0))["cell"]["W_hh"]) - 0.5) < 1e-12
    with pytest.raises(tb.UserError, match=r"inputs, hidden: the cell has \(2, 3\), got \(5, 3\)"):
        tb.rnn(Leaky(INPUTS, HIDDEN), 5, HIDDEN, OUTPUTS)
    with pytest.raises(tb.UserError, match=r"radius, orthogonal: .* draws its own weights"):
        tb.rnn(Leaky(INPUTS, HIDDEN), INPUTS, HIDDEN, OUTPUTS, radius=0.5)


@dataclass(frozen=True)
class Oscillator(tb.Model):
    """A user's own model: no cell, a dictionary as state, one parameter, an output that is the state's first entry."""

    def init(self, key):
        return {"stiffness": jnp.asarray(0.5)}

    def initial_state(self, params, batch_size):
        return {"place": jnp.ones(batch_size), "speed": jnp.zeros(batch_size), "steps": jnp.zeros((), int)}

    def step(self, params, state, x):
        speed = state["speed"] - 0.3 * params["stiffness"] * jnp.sin(state["place"]) + x
        return {"place": state["place"] + 0.3 * speed, "speed": speed, "steps": state["steps"] + 1}

    def readout(self, params, state):
        return state["place"]

    def losses(self, output, target):
        return (output - target) ** 2


def test_a_users_own_model_works_with_every_estimator():
    model = Oscillator()
    params = model.init(None)
    batch = tb.Batch(0.1 * jax.random.normal(jax.random.key(0), (12, 2)), jnp.zeros((12, 2)))
    exact = jax.grad(tb.loss, 1)(model, params, batch)
    for est in (tb.Full(), tb.Segment(12), tb.Window(12), tb.Buffered(12, 3), tb.Randomized(1.0)):
        assert distance(tb.gradient(est, model, params, batch, jax.random.key(0)), exact) < 1e-12
    for est in (tb.Segment(3), tb.Window(3), tb.Buffered(4, 2), tb.Randomized(0.5), tb.ARTBP(3.0)):
        assert distance(tb.gradient(est, model, params, batch, jax.random.key(0)), exact) > 1e-6


def test_softmax_and_binary_losses_by_hand():
    output = jnp.asarray([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
    probabilities = np.exp(output) / np.exp(output).sum(1, keepdims=True)
    softmax = tb.rnn("tanh", 1, 1, 3, "softmax").losses(output, jnp.asarray([1, 2]))
    assert distance(softmax, -np.log(probabilities[[0, 1], [1, 2]])) < 1e-12
    assert np.isnan(tb.rnn("tanh", 1, 1, 3, "softmax").losses(output, jnp.asarray([3, -1]))).all()
    p = 1 / (1 + np.exp(-output))
    y = jnp.asarray([[1.0, 0.0, 1.0], [0.0, 1.0, 0.5]])
    binary = tb.rnn("tanh", 1, 1, 3, "binary").losses(output, y)
    assert distance(binary, -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p), axis=1)) < 1e-12
    own = tb.rnn("tanh", 1, 1, 3, lambda output, target: jnp.abs(output[:, 0] - target))
    assert distance(own.losses(output, jnp.zeros(2)), jnp.asarray([1.0, 0.0])) == 0


def test_a_nan_in_the_data_is_never_hidden():
    model, params, batch = problem("tanh")
    for est in (tb.Full(), tb.Segment(2), tb.Window(2), tb.Randomized(0.5)):
        poisoned = batch._replace(inputs=batch.inputs.at[0, 0, 0].set(jnp.nan))
        estimate, carry = est(model, params, model.initial_state(params, BATCH), poisoned, jax.random.key(0))
        assert jnp.isnan(estimate.loss) and jnp.isnan(carry[0]).all() and not jnp.isnan(carry[1]).any()
        assert jnp.isnan(ravel_pytree(estimate.grads)[0]).any()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"inputs": jnp.ones((6, 2), int)}, r"inputs: floats of shape \[T, B, 2\] are needed, got int64"),
        ({"inputs": jnp.ones((6, 2, 5))}, r"inputs: floats of shape \[T, B, 2\]"),
        ({"inputs": jnp.ones((5, 2, 2))}, r"targets: shape \[5, 2, ...\] is needed"),
        ({"inputs": jnp.ones((0, 2, 2))}, "T and B at least 1"),
        ({"targets": jnp.ones((6, 3, 2))}, r"targets: shape \[6, 2, ...\]"),
        ({"targets": jnp.ones((6, 2))}, r"targets: shape \['T', 2, 2\]"),
        ({"weights": jnp.ones((6,))}, r"weights: shape \[6, 2\]"),
        ({"weights": jnp.ones((6, 2, 1))}, r"weights: shape \[6, 2\]"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_by_name(change, words):
    model, params, batch = problem("tanh")
    for use in (tb.loss, lambda *args: tb.gradient(tb.Segment(2), *args)):
        with pytest.raises(ValueError, match=words):
            use(model, params, batch._replace(**change))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("tahn", 1, 1, 1), "cell: unknown name 'tahn'. Did you mean tanh"),
        (("tanh", 1, 1, 1, "sofmax"), "loss: unknown name 'sofmax'. Did you mean softmax"),
        (("tanh", 1, 0, 1), "hidden: a whole number of at least 1 is needed, got 0"),
        ((object(), 1, 1, 1), "cell: a name, a Cell, a flax.linen cell or a flax.nnx cell"),
        ((linen.GRUCell(5), 1, 3, 1), "hidden: the cell's output has shape"),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_name(arguments, words):
    with pytest.raises(ValueError, match=words):
        tb.rnn(*arguments)
    with pytest.raises(ValueError, match="radius: a number of at least 0"):
        tb.rnn("tanh", 1, 1, 1, radius=-1.0)
    with pytest.raises(ValueError, match="targets: the softmax loss needs whole numbers"):
        tb.rnn("tanh", 1, 1, 2).losses(jnp.ones((1, 2)), jnp.ones(1))


def test_estimates_are_what_the_long_form_gives():
    """`tb.gradient` is one call of the estimator from a fresh state."""
    model, params, batch = problem("tanh")
    assert distance(tb.gradient(tb.Window(2), model, params, batch), estimates("tanh", [tb.Window(2)])[0]) < 1e-14


@dataclass(frozen=True)
class WithLearnedStart(Oscillator):
    def init(self, key):
        return {"stiffness": jnp.asarray(0.5), "start": jnp.asarray(0.3)}

    def initial_state(self, params, batch_size):
        return super().initial_state(params, batch_size) | {"place": jnp.full(batch_size, params["start"])}


def test_the_initial_state_is_data_for_the_loss_as_for_every_estimator():
    model = WithLearnedStart()
    params = model.init(None)
    batch = tb.Batch(0.1 * jax.random.normal(jax.random.key(0), (8, 2)), jnp.zeros((8, 2)))
    exact = jax.grad(tb.loss, 1)(model, params, batch)
    assert exact["start"] == 0 and exact["stiffness"] != 0
    assert distance(tb.gradient(tb.Full(), model, params, batch), exact) < 1e-12
    assert distance(tb.exact.expected_gradient(tb.Randomized(0.5), model, params, batch), exact) < 1e-12
