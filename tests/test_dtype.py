"""Networks of other floats: weights of bfloat16, inputs and losses of 32 bits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tests.estimators.test_interface import EXAMPLES
from tests.problems import QUICK
from tests.tiers import cases

BATCH = tb.Batch(jax.random.normal(jax.random.key(0), (12, 4, 3), jnp.float32), jnp.ones((12, 4), int))
ESTIMATORS = [
    *(tb.Full(), tb.Segment(4), tb.Window(4), tb.Randomized(0.8), tb.RTRL(), tb.SnAp(1), tb.UORO(), tb.UORO(memory=3)),
    *(tb.ES(0.1), tb.OK(), tb.Sketched(), tb.Segment(4, critic=tb.critics.Linear())),
]


def flat(tree):
    return np.asarray(ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree))[0])


@pytest.mark.parametrize("cell", cases(["tanh", "gru", "lstm"], QUICK))
def test_weights_states_and_gradients_are_of_the_type_and_losses_of_32_bits(cell):
    low, high = (tb.rnn(cell, 3, 8, 5, dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32))
    params = low.init(jax.random.key(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    state = low.step(params, low.initial_state(params, 4), BATCH.inputs[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.bfloat16)}
    assert low.losses(low.readout(params, state), BATCH.targets[0]).dtype == jnp.float32
    grads = tb.gradient(tb.Full(), low, params, BATCH)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}
    same = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    exact = flat(tb.gradient(tb.Full(), high, same, BATCH))
    found = flat(grads)
    assert found @ exact / np.linalg.norm(found) / np.linalg.norm(exact) > 0.99


@pytest.mark.parametrize(
    "est",
    cases(ESTIMATORS, lambda est: est.name == "uoro"),
    ids=lambda est: est.name,
)
def test_every_family_takes_it(est):
    model = tb.rnn("tanh", 3, 4, 5, dtype=jnp.bfloat16)
    params = model.init(jax.random.key(1))
    grads = tb.gradient(est, model, params, BATCH, jax.random.key(2))
    assert jax.tree.map(lambda leaf: leaf.dtype, grads) == jax.tree.map(lambda leaf: leaf.dtype, params)
    assert np.isfinite(flat(grads)).all() and np.abs(flat(grads)).max() > 0


@pytest.mark.parametrize("dtype", cases([jnp.float32, jnp.bfloat16], [jnp.bfloat16]), ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(
    "est", cases(EXAMPLES, lambda est: est.name in ("ok", "dodge", "sketched", "adaptive_rolling", "dni")), ids=str
)
def test_what_is_carried_stays_of_its_types(est, dtype):
    """With floats of 64 bits there, as here, and none of them in the network."""
    model = tb.rnn("tanh", 3, 4, 5, dtype=dtype)
    params, batch = model.init(jax.random.key(1)), jax.tree.map(lambda leaf: leaf[:6], BATCH)
    carry = est.init(model, params, batch, jax.random.key(2))
    estimate, after = jax.eval_shape(partial(est, model), params, carry, batch, jax.random.key(3))
    for ours, same in ((estimate.grads, params), (after, carry)):
        assert jax.tree.map(lambda leaf: leaf.dtype, ours) == jax.tree.map(lambda leaf: leaf.dtype, same)


def test_a_type_that_is_none_of_floats_is_refused():
    for dtype in (jnp.int32, "foo", 7):
        with pytest.raises(tb.UserError, match="dtype: a type of floats"):
            tb.rnn("tanh", 3, 4, 5, dtype=dtype)
