"""What one cell measures."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import after_updates
from tbptt_jax.models import Batch, Model, Params

SYMBOLS, DELAY, BATCH = 4, 5, 8
WARMUP = 500  # chunks that an estimator which learns from chunk to chunk has seen before
GROUP = ["cell", "radius", "training"]
MEASURED = [name + end for name in ("bias", "variance", "mse", "cosine") for end in ("", "_low", "_high")]


def makes_sense(config: Config):
    """Estimators without a τ are measured on tanh networks: kf_rtrl takes no GRU, and rtrl takes long for an LSTM."""
    return "tau" in config or config["cell"] == "tanh"


def echo_batch(key: Array, length: int, sequences: int = BATCH, every: int = 1) -> Batch:
    """Symbols, and as targets the symbols of `DELAY` steps before; a loss every so many steps, from the step on where
    there is one."""
    symbols = jax.random.randint(key, (length, sequences), 0, SYMBOLS)
    taken = (jnp.arange(1, length + 1) % every == 0) & (jnp.arange(length) >= DELAY)
    weights = jnp.broadcast_to(taken[:, None], (length, sequences)).astype(float)
    return Batch(jax.nn.one_hot(symbols, SYMBOLS), jnp.roll(symbols, DELAY, axis=0), weights)


@cache
def problems(cell: Any, radius: Any, training: Any, length: int, hidden: int, seeds: int, seed: int):
    """(model, params, batch) for all seeds side by side, after so many updates of full backpropagation with Adam."""
    model = tb.rnn(cell, SYMBOLS, hidden, SYMBOLS)  # the same for all radii, and compiled for once
    drawn = tb.rnn(cell, SYMBOLS, hidden, SYMBOLS, radius=radius)
    draw = partial(echo_batch, length=length)

    def trained(key):
        init_key, train_key, test_key = jax.random.split(key, 3)
        params = after_updates(model, drawn.init(init_key), draw, train_key, training, optax.adam(3e-3))
        return params, draw(test_key)

    return model, *jax.jit(jax.vmap(trained))(jax.random.split(jax.random.key(seed), seeds))


@partial(jax.jit, static_argnames="model")
def in_closed_form(est: Estimator, model: Model, params: Params, batch: Batch):
    """(squared bias, variance, squared norm of the exact gradient) for every seed."""

    def one(params, batch):
        exact = jax.grad(tb.loss, 1)(model, params, batch)
        mean = tb.exact.expected_gradient(est, model, params, batch)
        bias = sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(mean), jax.tree.leaves(exact)))
        norm = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(exact))
        return bias, tb.exact.variance(est, model, params, batch), norm

    return jax.vmap(one)(params, batch)


def measure(config: Config, key: Array):
    """Closed forms where there are any, samples with 95 % intervals where there are none; over ‖g‖²."""
    setting = {name: config[name] for name in ("cell", "radius", "training", "length", "hidden", "seeds")}
    model, params, batch = problems(**setting, seed=config.seed)
    est, length = config.estimator, config["length"]
    if est.law(length) is not None and not est.learns:
        bias, variance, norm = in_closed_form(est, model, params, batch)
        found = {"bias": bias / norm, "variance": variance / norm, "mse": (bias + variance) / norm}
        known = {"exact": True, "states": tb.exact.longest_stretch(est, length)}
    else:
        sample = partial(tb.measure, samples=config["samples"], warmup=WARMUP)
        keys = jax.random.split(key, config["seeds"])
        sampled = jax.vmap(lambda p, b, k: sample(est, model, p, b, k))(params, batch, keys)
        exact = jax.vmap(lambda p, b: sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(tb.loss, 1)(model, p, b))))
        norm = exact(params, batch)
        found = {}
        for name in ("bias", "variance", "mse"):
            for end, values in zip(("", "_low", "_high"), getattr(sampled, name)):
                found[name + end] = values / norm
        for end, values in zip(("", "_low", "_high"), sampled.cosine):
            found["cosine" + end] = values
        known = {"exact": False, "states": float(est.states_alive(length))}
    columns = dict.fromkeys(MEASURED) | found
    return [
        {"replica": i} | known | {name: None if v is None else float(v[i]) for name, v in columns.items()}
        for i in range(config["seeds"])
    ]
