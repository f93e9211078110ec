"""Flax cells as they are: linen and nnx, by class, by instance, and what holds them."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

import tbptt_jax as tb
from tests.problems import BATCH, HIDDEN, INPUTS, OUTPUTS, distance, problem
from tests.tiers import cases


def test_gru_and_lstm_equal_those_of_flax_on_the_same_weights():
    """The LSTM of the chapter is flax's; h, c and the gates' order i, f, o, g are checked against it."""
    cell = tb.rnn("lstm", INPUTS, HIDDEN, OUTPUTS).cell
    params = cell.init(jax.random.key(0))
    flax_cell = linen.LSTMCell(HIDDEN, param_dtype=jnp.float64)
    blocks = {f"i{gate}": {"kernel": w.T} for gate, w in zip("ifog", jnp.split(params["W_hx"], 4))} | {
        f"h{gate}": {"kernel": w.T, "bias": b}
        for gate, w, b in zip("ifog", jnp.split(params["W_hh"], 4), jnp.split(params["b_h"] + 0.3, 4))
    }
    params["b_h"] = params["b_h"] + 0.3
    x, h, c = (
        jax.random.normal(k, (BATCH, n))
        for k, n in zip(jax.random.split(jax.random.key(1), 3), (INPUTS, HIDDEN, HIDDEN))
    )
    (their_c, their_h), _ = flax_cell.apply({"params": blocks}, (c, h), x)
    assert distance(cell.step(params, (h, c), x), (their_h, their_c)) < 1e-12


FLAX = [linen.SimpleCell, linen.GRUCell, linen.MGUCell, linen.LSTMCell, linen.OptimizedLSTMCell]


@pytest.mark.parametrize("kind", FLAX, ids=lambda kind: kind.__name__)
def test_linen_cells_run_unchanged(kind):
    module = kind(HIDDEN, param_dtype=jnp.float64)
    model = tb.rnn(module, INPUTS, HIDDEN, OUTPUTS, "squared")
    params = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (BATCH, INPUTS))
    state = model.step(params, model.initial_state(params, BATCH), x)
    carry = module.initialize_carry(jax.random.key(0), (BATCH, INPUTS))
    carry, output = module.apply(params["cell"], carry, x)
    assert distance(state, carry) == 0 and distance(model.cell.output(state), output) == 0


@pytest.mark.parametrize(
    "kind",
    cases([nnx.SimpleCell, nnx.GRUCell, nnx.LSTMCell, nnx.OptimizedLSTMCell], [nnx.GRUCell, nnx.OptimizedLSTMCell]),
    ids=lambda k: k.__name__,
)
def test_nnx_cells_run_unchanged_as_class_and_as_instance(kind):
    instance = kind(INPUTS, HIDDEN, rngs=nnx.Rngs(jax.random.key(5)))
    x = jax.random.normal(jax.random.key(1), (BATCH, INPUTS))
    carry, output = instance(instance.initialize_carry((BATCH, INPUTS), nnx.Rngs(0)), x)
    for source in (kind, instance):
        model = tb.rnn(source, INPUTS, HIDDEN, OUTPUTS, "squared")
        assert hash(model) == hash(tb.rnn(source, INPUTS, HIDDEN, OUTPUTS, "squared"))
        params = model.cell.init(jax.random.key(5))
        state = model.cell.step(params, model.cell.initial_state(params, BATCH), x)
        assert distance(state, carry) < 1e-6 and distance(model.cell.output(state), output) < 1e-6


@pytest.mark.parametrize(
    "source",
    [
        nnx.RNN(nnx.LSTMCell(INPUTS, HIDDEN, rngs=nnx.Rngs(0))),
        linen.RNN(linen.GRUCell(HIDDEN)),
        partial(nnx.GRUCell, param_dtype=jnp.float32),
    ],
    ids=["nnx.RNN", "linen.RNN", "partial"],
)
def test_what_holds_a_flax_cell_is_taken_for_it(source):
    model, (_, _, batch) = tb.rnn(source, INPUTS, HIDDEN, OUTPUTS, "squared"), problem("tanh")
    params, batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (model.init(jax.random.key(0)), batch))
    exact = jax.grad(tb.loss, 1)(model, params, batch)
    assert distance(tb.gradient(tb.Full(), model, params, batch), exact) < 1e-5
    with pytest.raises(tb.UserError, match=r"an RNN that runs forward over one cell is needed, .* or cut the loss"):
        tb.rnn(linen.RNN(linen.GRUCell(HIDDEN), reverse=True), INPUTS, HIDDEN, OUTPUTS)


def test_a_cell_whose_output_is_not_in_its_carry_keeps_it_in_the_state():
    class Doubling(linen.RNNCellBase):
        features: int = HIDDEN

        @linen.compact
        def __call__(self, carry, x):
            carry = jnp.tanh(linen.Dense(self.features, param_dtype=jnp.float64)(x) + carry)
            return carry, 2 * carry

        def initialize_carry(self, rng, input_shape):
            return jnp.zeros((*input_shape[:-1], self.features))

        @property
        def num_feature_axes(self):
            return 1

    model = tb.rnn(Doubling(), INPUTS, HIDDEN, OUTPUTS, "squared")
    params = model.init(jax.random.key(0))
    _, _, batch = problem("tanh")
    carry, output = model.step(params, model.initial_state(params, BATCH), batch.inputs[0])
    assert distance(output, 2 * carry) == 0
    exact = jax.grad(tb.loss, 1)(model, params, batch)
    assert distance(tb.gradient(tb.Full(), model, params, batch), exact) < 1e-12
