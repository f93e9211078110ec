"""What users run: float32, and the compiler with all its optimizations, which the other tests do without."""

import json
import subprocess
import sys

import pytest

from tests import as_users
from tests.tiers import thorough

pytestmark = thorough  # half a minute of optimized compilation

PROGRAM = """
import json
import jax, jax.numpy as jnp
from jax.flatten_util import ravel_pytree
import tbptt_jax as tb
from tbptt_jax.gradients.cuts.definition import scan_by_definition

def network(length, hidden=64):
    model = tb.rnn("tanh", 4, hidden, 3)
    symbols = jax.random.randint(jax.random.key(0), (length, 2), 0, 3)
    return model, model.init(jax.random.key(1)), tb.Batch(jax.nn.one_hot(symbols, 4), symbols)

def temporary(est, length):
    model, params, batch = network(length)
    start = model.initial_state(params, 2)
    program = jax.jit(lambda params: est(model, params, start, batch, None)[0])
    return program.lower(params).compile().memory_analysis().temp_size_in_bytes

def by_definition(model, params, batch, gates):
    def loss(params):
        def step(state, x_and_y):
            x, y = x_and_y
            state = model.step(params, state, x)
            return state, model.losses(model.readout(params, state), y)
        start = model.initial_state(params, 2)
        return jnp.mean(scan_by_definition(step, start, (batch.inputs, batch.targets), gates=gates)[1])
    return jax.jit(jax.grad(loss))(params)

model, params, batch = network(40, 16)
apart = {}
for est in (tb.Full(), tb.Segment(8), tb.Segment(8, in_order=True), tb.Randomized(0.7), tb.ARTBP(6.0)):
    key = jax.random.key(3)
    ours = est(model, params, model.initial_state(params, 2), batch, key)[0].grads
    theirs = by_definition(model, params, batch, est.gates(key, 40, 2))
    a, b = ravel_pytree(ours)[0], ravel_pytree(theirs)[0]
    apart[str(est)] = float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
in_order = tb.Segment(16, in_order=True)
memory = {
    "in order, 512": temporary(in_order, 512),
    "in order, 2048": temporary(in_order, 2048),
    "in order, tau 64": temporary(tb.Segment(64, in_order=True), 2048),
    "side by side, 512": temporary(tb.Segment(16), 512),
    "side by side, 2048": temporary(tb.Segment(16), 2048),
    "full, 2048": temporary(tb.Full(), 2048),
}
print(json.dumps({"dtype": str(ravel_pytree(params)[0].dtype), "apart": apart, "memory": memory}))
"""


@pytest.fixture(scope="module")
def found():
    environment = as_users.environment()
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_optimized_gradients_are_those_of_the_definition(found):
    assert found["dtype"] == "float32"
    assert max(found["apart"].values()) < 1e-5, found["apart"]


def test_memory_of_segments_in_order_does_not_grow_with_the_sequence(found):
    """Activations of one segment: the same at 512 steps as at 2,048, and growing with tau; side by side, with T."""
    memory = found["memory"]
    assert memory["in order, 2048"] <= 1.05 * memory["in order, 512"]
    assert memory["in order, tau 64"] > 2 * memory["in order, 2048"]
    assert memory["side by side, 2048"] > 3 * memory["side by side, 512"]
    assert memory["in order, 2048"] < 0.1 * memory["full, 2048"]
