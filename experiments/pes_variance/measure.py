"""What one cell measures."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import choose
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Config

HIDDEN, BATCH = 8, 1
IS_CONSTANT = {"constant": True, "random": False}
"""The kinds of streams."""


@cache
def streams(kind: str, steps: int, seeds: int):
    """(model, params, the whole stream as a batch), side by side: lines of random symbols, or one symbol all along."""
    task = tb.Brackets(length=steps, batch_size=BATCH)
    model = task.model("tanh", HIDDEN)

    def one(key):
        batch, _, _ = task.chunk(task.start(key))
        if IS_CONSTANT[kind]:
            batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), batch)
        return model.init(jax.random.fold_in(key, 1)), batch

    return model, *jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), seeds))


def measure(config: Config, key: Array):
    est, unroll, seeds = config.estimator, config["unroll"], config["seeds"]
    choose("stream", config["stream"], IS_CONSTANT)
    model, params, batch = streams(config["stream"], config["steps"], seeds)
    bias, variance, norm = jax.device_get(exact(est, model, params, batch, unroll))
    rows = [
        {"replica": i, "bias": float(bias[i] / norm[i]), "variance": float(variance[i] / norm[i])}
        | {"sampled": None, "error": None}
        for i in range(seeds)
    ]
    first = jax.tree.map(lambda leaf: leaf[0], (params, batch))
    found, error = jax.device_get(sampled(est, model, *first, unroll, key, config["samples"]))
    rows[0] |= {"sampled": float(found / norm[0]), "error": float(error / norm[0])}
    return rows


@partial(jax.jit, static_argnames=("model", "unroll"))
def exact(est: Estimator, model: Any, params: Any, batch: Any, unroll: int) -> tuple[Array, Array, Array]:
    """(squared bias, variance, squared norm of the gradient of the stream's loss) of every network."""

    def one(both):
        params, batch = both
        gradient = ravel_pytree(jax.grad(tb.loss, 1)(model, params, batch))[0]
        found = tb.exact.evolution(est, model, params, batch, unroll)
        return jnp.sum((found.mean - gradient) ** 2), found.variance, jnp.sum(gradient**2)

    return jax.lax.map(one, (params, batch))


@partial(jax.jit, static_argnames=("model", "unroll", "samples"))
def sampled(est: Any, model: Any, params: Any, batch: Any, unroll: int, key: Array, samples: int):
    """The variance of so many estimates of the stream's gradient, and its standard error."""
    chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, unroll, *leaf.shape[1:]), batch)
    count = len(jax.tree.leaves(chunks)[0])

    def estimate(key):
        def one(carry, now):
            chunk, key = now
            estimate, carry = est(model, params, carry, chunk, key)
            return carry, ravel_pytree(estimate.grads)[0]

        carry = est.init(model, params, jax.tree.map(lambda leaf: leaf[0], chunks), key)
        keys = jax.random.split(jax.random.fold_in(key, 1), count)
        return jnp.mean(jax.lax.scan(one, carry, (chunks, keys))[1], axis=0)

    estimates = jax.lax.map(estimate, jax.random.split(key, samples), batch_size=64)
    squares = jnp.sum((estimates - jnp.mean(estimates, axis=0)) ** 2, axis=1)
    return jnp.sum(squares) / (samples - 1), jnp.std(squares) / jnp.sqrt(samples)
