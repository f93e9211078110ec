"""What one cell measures."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config

HIDDEN, BATCH = 8, 1


def stream(kind: Any, steps: Any, key: Array):
    """(model, params, the whole stream as a batch): lines of random symbols, or one symbol all along."""
    task = tb.Brackets(length=steps, batch_size=BATCH)
    batch, _, _ = task.chunk(task.start(key))
    if kind == "constant":
        batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), batch)
    model = task.model("tanh", HIDDEN)
    return model, model.init(jax.random.fold_in(key, 1)), batch


def measure(config: Config, key: Array):
    steps, unroll = config["steps"], config["unroll"]
    model, params, batch = stream(config["stream"], steps, jax.random.key(1))
    est = config.estimator
    exact = ravel_pytree(jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch))[0]
    chunks = jax.tree.map(lambda leaf: leaf.reshape(steps // unroll, unroll, *leaf.shape[1:]), batch)

    def estimate(key):
        carry = est.init(model, params, jax.tree.map(lambda leaf: leaf[0], chunks), key)

        def one(carry, now):
            chunk, key = now
            estimate, carry = est(model, params, carry, chunk, key)
            return carry, ravel_pytree(estimate.grads)[0]

        keys = jax.random.split(jax.random.fold_in(key, 1), steps // unroll)
        return jnp.mean(jax.lax.scan(one, carry, (chunks, keys))[1], axis=0)

    @partial(jax.jit, static_argnums=1)
    def sampled(key, samples):
        estimates = jax.lax.map(estimate, jax.random.split(key, samples), batch_size=64)
        mean = jnp.mean(estimates, axis=0)
        variance = jnp.sum((estimates - mean) ** 2) / (samples - 1)
        squares = jnp.sum((estimates - mean) ** 2, axis=1)
        error = jnp.std(squares) / jnp.sqrt(samples)
        bias = jnp.sum((mean - exact) ** 2) - variance / samples
        return variance, error, bias, jnp.sum(exact**2)

    variance, error, bias, norm = map(float, sampled(key, config["samples"]))
    row = {"variance": variance / norm, "error": 1.96 * error / norm, "squared_bias": bias / norm}
    return [row | {"bias_noise": 2 * variance / norm / config["samples"]}]
