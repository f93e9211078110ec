"""What one cell measures."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.estimators.base import warmed_up
from tbptt_jax.lab.config import Config, choose_estimator
from tbptt_jax.lab.protocol import clipped_adam
from tbptt_jax.models import Batch, Model, Params

WARMUP = 100
"""Fresh batches that an estimator which learns has seen before its estimates are compared."""


def cosines(model: Model, ests: Sequence, params: Params, draw: Callable[[Array], Batch], key: Array, samples: Any):
    """The mean cosines `[E, E]` between single estimates of any two estimators on a fresh batch; on the diagonal,
    between two estimates of the same one."""
    carries = [warmed_up(est, model, params, draw, jax.random.fold_in(key, i), WARMUP) for i, est in enumerate(ests)]

    def once(est, carry, batch, key):
        start_key, key = jax.random.split(key)
        start = est.restart(model, params, carry, batch, start_key)
        return ravel_pytree(est(model, params, start, batch, key)[0].grads["cell"])[0]

    def all_once(batch, key):
        keys = jax.random.split(key, len(ests))
        return jnp.stack([once(est, carry, batch, key) for est, carry, key in zip(ests, carries, keys)])

    def pair(key):
        batch_key, *keys = jax.random.split(key, 3)
        batch = draw(batch_key)
        one, other = (all_once(batch, key) for key in keys)
        one, other = (g / jnp.linalg.norm(g, axis=1, keepdims=True) for g in (one, other))
        return one @ other.T

    matrix = jnp.mean(jax.lax.map(pair, jax.random.split(key, samples)), axis=0)
    return (matrix + matrix.T) / 2


def measure(config: Config, key: Array):
    task = config.task
    model = task.model(config["cell"], config["hidden"])
    full = choose_estimator("full()", None)  # the first row of the matrix: cosines with the exact gradient
    chosen = [full, *(one for one in config.chosen if one.estimator != full.estimator)]
    ests = [one.estimator for one in chosen]

    def draw(key):
        return task.chunk(task.start(key))[0]

    def watch(params):
        return cosines(model, ests, params, draw, jax.random.key(8), config["samples"])

    history = tb.train(
        model,
        tb.Full(),
        task,
        clipped_adam(3e-3),
        steps=config["updates"],
        key=key,
        evaluations=8,
        seeds=config["seeds"],
        watch=watch,
        checkpoint=tb.lab.checkpoint("training"),
    )
    rows = []
    for i, one in enumerate(chosen):
        for replica in range(config["seeds"]):
            cosine = history.watched[replica, :, 0, i]
            rows.append(
                one.columns
                | {"replica": replica, "first": float(cosine[0]), "last": float(cosine[-1])}
                | {"mean": float(cosine.mean()), "held_out": float(history.held_out[replica, -1])}
                | {"curve_updates": history.step, "curve_cosine": cosine, "pairs": history.watched[replica, -1, i]}
            )
    return rows
