"""What one cell measures."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import choose
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.experiments.bias_variance.measure import SYMBOLS, echo_batch
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import after_updates
from tbptt_jax.models import Batch, Model, Params

BATCH = 4
GROUP = ["losses", "radius", "training", "tau"]
EVERY = {"every step": 1, "every 16th": 16, "last": None}


def batch_of(key: Array, length: int, losses: Any) -> Batch:
    """As in `bias_variance`, with the losses at some of the steps."""
    return echo_batch(key, length, BATCH, choose("losses", losses, EVERY) or length)


@cache
def networks(losses: Any, radius: Any, training: Any, length: int, hidden: int, seeds: int, seed: int):
    """(model, params) of all seeds, after so many updates of full backpropagation with Adam."""
    model = tb.rnn("tanh", SYMBOLS, hidden, SYMBOLS, radius=radius)
    draw = partial(batch_of, length=length, losses=losses)

    def trained(key):
        init_key, train_key = jax.random.split(key)
        return after_updates(model, model.init(init_key), draw, train_key, training, optax.adam(3e-3))

    return model, jax.jit(jax.vmap(trained))(jax.random.split(jax.random.key(seed), seeds))


def learned_gates(est: Estimator, model: Model, params: Params, length: int, losses: Any, key: Array, chunks: int):
    """The gates that an estimator has learned after so many fresh batches."""

    def see(carry, key):
        data_key, key = jax.random.split(key)
        batch = batch_of(data_key, length, losses)
        return est(model, params, est.restart(model, params, carry, batch, None), batch, key)[1], None

    start = est.init(model, params, batch_of(key, length, losses), None)
    carry, _ = jax.lax.scan(see, start, jax.random.split(key, chunks))
    return est.frozen(carry, length)


@partial(jax.jit, static_argnames=("model", "length", "losses", "chunks"))
def figures(est: Estimator, model: Model, params: Params, length: int, losses: Any, key: Array, chunks: int):
    """Over ‖g‖²: the variance of an estimator, and the least of all independent gates that are cut as often."""
    data_key, key = jax.random.split(key)
    batch = batch_of(data_key, length, losses)
    norm = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(tb.loss, 1)(model, params, batch)))
    if est.learns_gates:
        best = tb.Scheduled(tb.exact.optimal_keeps(model, params, batch, est.keep))  # type: ignore[attr-defined]
        est = learned_gates(est, model, params, length, losses, key, chunks)
        least = tb.exact.variance(best, model, params, batch)
    else:
        least = jnp.nan
    return tb.exact.variance(est, model, params, batch) / norm, least / norm


def measure(config: Config, key: Array):
    setting = {name: config[name] for name in ("losses", "radius", "training", "length", "hidden", "seeds")}
    model, params = networks(**setting, seed=config.seed)
    keys = jax.random.split(jax.random.key(config.seed + 1), config["seeds"])  # one batch for all estimators
    one = partial(figures, config.estimator)
    variance, least = jax.lax.map(
        lambda each: one(model, each[0], config["length"], config["losses"], each[1], config["chunks"]), (params, keys)
    )
    return [
        {"replica": i, "variance": float(variance[i]), "least": None if jnp.isnan(least[i]) else float(least[i])}
        for i in range(config["seeds"])
    ]
