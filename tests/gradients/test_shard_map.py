"""Sequences spread over devices: a process of its own, since the number of devices is fixed when JAX starts."""

import os
import subprocess
import sys

import jax
import pytest
from jax.sharding import PartitionSpec

import tbptt_jax as tb
from tests.problems import problem
from tests.tiers import thorough

PROGRAM = """
import jax, jax.numpy as jnp
from functools import partial
from jax.sharding import PartitionSpec as P
import tbptt_jax as tb
jax.config.update("jax_enable_x64", True)
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
model = tb.rnn("gru", 2, 3, 2, "squared")
params = model.init(jax.random.key(0))
batch = tb.Batch(jax.random.normal(jax.random.key(1), (6, 8, 2)), jnp.ones((6, 8, 2)), jnp.ones((6, 8)))
for est in (tb.Full(), tb.Segment(2), tb.Segment(4, offset=1), tb.Window(3), tb.Buffered(4, 2), tb.Randomized(0.5)):
    def one(params, batch):
        def step(state, x):
            state = model.step(params, state, x)
            return state, state
        start = model.initial_state(params, batch.inputs.shape[1])
        start = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, "data", to="varying") if spread else leaf, start)
        _, states = tb.scan(step, start, batch.inputs, truncation=est, key=jax.random.key(2))
        total = jnp.sum(states**2)
        return jax.lax.psum(total, "data") if spread else total
    spread = False
    alone = jax.jit(jax.grad(one))(params, batch)
    spread = True
    sharded = jax.shard_map(one, mesh=mesh, in_specs=(P(), P(None, "data")), out_specs=P())
    together = jax.jit(jax.grad(sharded))(params, batch)
    apart = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together)))
    inside = jax.shard_map(jax.grad(one), mesh=mesh, in_specs=(P(), P(None, "data")), out_specs=P())
    within = jax.jit(inside)(params, batch)
    pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(within))
    apart = max(apart, *(float(jnp.max(jnp.abs(a - b))) for a, b in pairs))
    print(est, apart)
    assert apart < 1e-10, est

def mean_estimate(est, params, batch):
    return jax.lax.pmean(tb.gradient(est, model, params, batch, jax.random.key(2)), "data")

for est in (tb.Full(), tb.Segment(2), tb.Window(3), tb.RTRL()):
    own = jax.shard_map(partial(mean_estimate, est), mesh=mesh, in_specs=(P(), P(None, "data")), out_specs=P(),
                        check_vma=False)
    pairs = zip(jax.tree.leaves(tb.gradient(est, model, params, batch)), jax.tree.leaves(jax.jit(own)(params, batch)))
    assert max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs) < 1e-10, est
"""


@thorough
def test_gradients_are_the_same_on_four_devices():
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("varies", [0, 1, 2], ids=["params", "batch", "key"])
def test_gradient_says_what_it_needs_in_a_shard_map(varies):
    model, params, batch = problem("tanh")
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def varying(leaf):
        return jax.lax.pcast(leaf, "data", to="varying")

    def estimate(*given):
        given = [jax.tree.map(varying, part) if i == varies else part for i, part in enumerate(given)]
        return jax.lax.psum(tb.gradient(tb.Randomized(0.5), model, *given), "data")

    sharded = jax.shard_map(estimate, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec())
    with pytest.raises(tb.UserError, match=r"vary over the axes \['data'\] of a shard_map, which .* check_vma=False"):
        sharded(params, batch, jax.random.key(0))
