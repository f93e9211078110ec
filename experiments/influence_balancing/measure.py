"""What one cell measures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import learning_rows
from tbptt_jax.tasks.base import Task

BEST = -1 / 6
RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
NEAR, FAR = 0.01, 1e3  # a distance from the best θ at which it counts as arrived, and the largest that is shown
GROUP = ["series", "tau", "length"]
LONG = 400  # steps of a chunk within which all lags that count are seen
EPISODE = 200
"""Steps after which what is perturbed starts anew."""


def makes_sense(config: Config):
    """Truncation has chunks of its own lengths; perturbations run for one and the same number of steps; a chunk of one
    step leaves estimators that look back within it nothing to differ by."""
    est, length = config.estimator, config["length"]
    if "tau" in config:
        return length == LONG
    if est.chunks is not None:
        return est.chunks * length == EPISODE
    return length > 1 or est.carries_more or est == tb.Full()


def task_for(est: Estimator, config: Config):
    """Chunks in which each loss sees what the estimator lets it see: whole segments, and windows that are full."""
    length = config["length"]
    lags = est.lags(length)
    if lags is not None:
        before = int(lags) - 1
        return tb.InfluenceBalancing(length // 10 + before, skipped=before)
    whole = length if est.updates_at_cuts else est.pace(length).chunk
    return tb.InfluenceBalancing(whole * -(-length // whole))


def slope(est: Estimator, task: Task, samples: Any):
    """The mean estimate over (s¹ − 1), at the first θ and the state that it leads to."""
    model = task.model()
    params = model.init(jax.random.key(0))
    carry = est.init(model, params, task.batch(jax.random.key(0)), jax.random.key(1))

    def settle(_, carry):
        return est(model, params, carry, task.batch(jax.random.key(0)), jax.random.key(2))[1]

    @jax.jit
    def mean():
        at_rest = jax.lax.fori_loop(0, 20, settle, carry)

        def one(key):
            estimate, _ = est(model, params, at_rest, task.batch(key), key)
            return estimate.grads["theta"]

        return jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(3), samples), batch_size=64))

    return float(mean()) / (-6 * 0.5 - 1)


def measure(config: Config, key: Array):
    est = config.estimator
    task = task_for(est, config)
    history = tb.train(
        task.model(),
        est,
        task,
        optax.sgd,
        steps=config["updates"],
        key=key,
        evaluations=50,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=lambda params: params["theta"],
        checkpoint=tb.lab.checkpoint("training"),
    )
    found = slope(est, task, config["samples"]) if config.tau else None
    rows = learning_rows(history, RATES, slope=found)
    for row, theta in zip(rows, history.watched.reshape(len(rows), -1)):
        distance = np.minimum(np.abs(theta - BEST), FAR)
        row |= {"distance": float(distance[-1]), "curve_distance": distance}
    return rows
