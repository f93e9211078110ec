"""What one cell measures."""

from collections.abc import Callable
from dataclasses import replace
from math import isfinite, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

import tbptt_jax as tb
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream
from tbptt_jax.lab.protocol import chosen_and_reported, losses_apart
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.tasks.base import Task
from tbptt_jax.training.loop import History

RATES = [3e-4, 1e-3, 3e-3]
GROUP = ["task", "cell", "series"]
STREAMS, SYMBOLS, SETTLED = 8, 256, 64
"""Fresh streams on which estimates are compared with the exact gradient, from their 64th symbol on."""


def measure(config: Config, key: Array):
    return learned_by(optax.adam, config, key)


def learned_by(optimizer: Callable, config: Config, key: Array) -> list[dict[str, Any]]:
    """What is learned by the optimizer of each rate, and how the estimator is aligned on what it trained."""
    history, rows = read_by(optimizer, config, key)
    est, task, model = config.estimator, stream(config)[0], model_of(config)
    cosines = [mean_cosines(est, model, params_of(history.params, i), task, key) for i in range(len(RATES))]
    for row in rows:
        found = float(cosines[RATES.index(row["learning_rate"])][row["run"]])
        row |= {"cosine": found if isfinite(found) else None}  # an estimate that overflows points nowhere
    return rows


def read_by(optimizer: Callable, config: Config, key: Array) -> tuple[History, list[dict[str, Any]]]:
    """One update a symbol, by the optimizer of each rate: the history, and its rows."""
    model, (task, steps_an_update) = model_of(config), stream(config)
    history = tb.train(
        model,
        config.estimator,
        task,
        optimizer,
        steps=round(config["symbols"] / steps_an_update),
        key=key,
        evaluations=20,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=losses_apart(model, config.task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    more = {"carried": carried(config.estimator, model, task)} | task.floors()
    return history, [row | more for row in chosen_and_reported(history, RATES)]


def stream(config: Config) -> tuple[Task, float]:
    """The task as one sequence, and how many of its symbols are read between updates."""
    return in_a_stream(config.estimator, replace(config.task, batch_size=1), 1)  # type: ignore[type-var]


def model_of(config: Config) -> Model:
    return config.task.model(config["cell"], config["hidden"])


def params_of(params: Params, rate: int) -> Params:
    return jax.tree.map(lambda leaf: leaf[rate], params)


def mean_cosines(est: Estimator, model: Model, params: Params, task: Task, key: Array) -> Float[np.ndarray, " seeds"]:
    """Of every network's recurrent gradients with the exact ones, the mean over fresh streams; parameters
    stay as they are."""
    exact, updates = tb.RTRL(), SYMBOLS // task.length

    def one_stream(params: Params, key: Array):
        source = task.start(key)
        first, _, _ = task.chunk(source)

        def step(state: Any, key: Array):
            source, ours, theirs = state
            batch, _, source = task.chunk(source)
            estimate, ours = est(model, params, ours, batch, key)
            truth, theirs = exact(model, params, theirs, batch, None)
            return (source, ours, theirs), cosine(estimate.grads["cell"], truth.grads["cell"])

        carries = est.init(model, params, first, key), exact.init(model, params, first, None)
        keys = jax.random.split(jax.random.fold_in(key, 1), updates)
        return jnp.mean(lax.scan(step, (source, *carries), keys)[1][SETTLED // task.length :])

    @jax.jit
    @jax.vmap
    def of_network(params):
        return jnp.mean(jax.vmap(one_stream, (None, 0))(params, jax.random.split(jax.random.fold_in(key, 2), STREAMS)))

    return np.asarray(of_network(params))


def cosine(a: Params, b: Params) -> Float[Array, ""]:
    a, b = ravel_pytree(a)[0], ravel_pytree(b)[0]
    size = jnp.linalg.norm(a) * jnp.linalg.norm(b)
    return jnp.where(size > 0, a @ b / jnp.where(size > 0, size, 1), 0)


def carried(est: Estimator, model: Model, task: Task) -> int:
    """Numbers that are carried from update to update, the model's state among them."""

    def start(key: Array):
        batch: Batch = task.chunk(task.start(key))[0]
        return est.init(model, model.init(key), batch, key)

    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(start, jax.random.key(0))))
