"""Small models, batches and slow oracles that the tests share."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.forward import loss_of_states
from tests.tiers import cases

LENGTH, BATCH, INPUTS, HIDDEN, OUTPUTS = 6, 2, 2, 3, 2

MODELS = {
    "tanh": partial(tb.rnn, "tanh", radius=1.3),
    "gru": partial(tb.rnn, "gru"),
    "lstm": partial(tb.rnn, "lstm"),
    "two layers": partial(tb.rnn, "tanh", layers=2),
    "linen": partial(tb.rnn, linen.GRUCell(HIDDEN, param_dtype=jnp.float64)),
    "nnx": partial(tb.rnn, nnx.LSTMCell(INPUTS, HIDDEN, param_dtype=jnp.float64, rngs=nnx.Rngs(7))),
}


QUICK = ["lstm"]  # their state has two parts
EVERY_MODEL = cases(MODELS, QUICK)


@cache
def problem(name, length=LENGTH, batch=BATCH):
    """(model, params, batch): squared loss, uneven weights with some zeros, biases that are not zero."""
    model = MODELS[name](INPUTS, HIDDEN, OUTPUTS, "squared")
    keys = jax.random.split(jax.random.key(3), 5)
    params = model.init(keys[0])
    flat, unravel = ravel_pytree(params)
    params = unravel(flat + 0.3 * jax.random.normal(keys[1], flat.shape))
    weights = jax.random.uniform(keys[2], (length, batch))
    weights = jnp.where(weights < 0.2, 0.0, weights).at[-1].set(1.0)
    inputs = jax.random.normal(keys[3], (length, batch, INPUTS))
    targets = jax.random.normal(keys[4], (length, batch, OUTPUTS))
    return model, params, tb.Batch(inputs, targets, weights)


def full_gradient(name, **sizes):
    return jax.jit(jax.grad(tb.loss, argnums=1), static_argnums=0)(*problem(name, **sizes))


def estimates(name, ests, key=None, **sizes):
    """The gradients that estimators give from a fresh state, compiled together with their numbers as constants."""
    model, params, batch = problem(name, **sizes)

    def all_of_them(params):
        start = model.initial_state(params, batch.inputs.shape[1])
        return [est(model, params, start, batch, key)[0].grads for est in ests]

    return jax.jit(all_of_them)(params)


def gradient_with_gates(name, gates):
    """The gradient by the definition: stop_gradient, lax.scan and jax.grad, nothing of ours."""
    model, params, batch = problem(name)

    def loss(params):
        def gated_step(state, gate_and_x):
            gate, x = gate_and_x
            held = jax.lax.stop_gradient(state)
            state = jax.tree.map(lambda h, kept: kept + gate[:, None] * (h - kept), state, held)
            state = model.step(params, state, x)
            return state, state

        _, states = jax.lax.scan(gated_step, model.initial_state(params, BATCH), (gates, batch.inputs))
        return loss_of_states(model, params, states, batch)

    return jax.jit(jax.grad(loss))(params)


@cache
def gradients_of_losses(name):
    """Plain `jax.grad` of one loss at a time: entry [t, s] is that of loss t (both from 0) when the state before step s
    is held constant."""
    model, params, batch = problem(name)
    start, times = model.initial_state(params, BATCH), jnp.arange(LENGTH)

    def run(params, held_at, held):
        def step(state, i):
            state = jax.tree.map(lambda h, fixed: jnp.where(i == held_at, fixed[i], h), state, held)
            return model.step(params, state, batch.inputs[i]), state

        final, before = jax.lax.scan(step, start, times)
        return before, jax.tree.map(lambda h, last: jnp.concatenate([h[1:], last[None]]), before, final)

    def one_loss(params, t, s):
        _, after = run(params, s, jax.lax.stop_gradient(states))
        output = model.readout(params, jax.tree.map(lambda h: h[t], after))
        return jnp.sum(batch.weights[t] * model.losses(output, batch.targets[t])) / jnp.sum(batch.weights)

    states, _ = run(params, -1, jax.tree.map(lambda h: jnp.broadcast_to(h, (LENGTH, *h.shape)), start))
    over_s = jax.vmap(jax.grad(one_loss), (None, None, 0))
    return jax.jit(jax.vmap(over_s, (None, 0, None)))(params, times, times)


def gradient_looking_back(name, reach):
    """Loss t (from 0) sees its own step and reach(t) steps before it."""
    table = gradients_of_losses(name)
    return total(jax.tree.map(lambda g, t=t: g[t, max(t - reach(t), 0)], table) for t in range(LENGTH))


@cache
def gradients_by_lag(name):
    """[G_0 with the readout's part, G_1, ..., G_{T−1}], by differences of the loop above."""
    windows = [gradient_looking_back(name, lambda t, tau=tau: tau - 1) for tau in range(1, LENGTH + 1)]
    return [windows[0]] + [subtract(b, a) for a, b in itertools.pairwise(windows)]


def total(trees):
    return jax.tree.map(lambda *leaves: sum(leaves), *trees)


def scaled(factor, tree):
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def subtract(a, b):
    return jax.tree.map(lambda x, y: x - y, a, b)


def distance(a, b):
    """The largest difference between two trees of the same shape."""
    assert jax.tree.map(jnp.shape, a) == jax.tree.map(jnp.shape, b)
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b))
    apart = [np.max(np.abs(np.asarray(x) - 1.0 * np.asarray(y)), initial=0) for x, y in pairs]
    return float(np.max(apart, initial=0))  # a NaN is not lost


def announce(folder, monkeypatch, entry_points):
    """As if a package were installed that names these entry points: what a folder holds can be imported."""
    info = folder / "theirs-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(folder)
