"""How experiments train, so that a referee has nothing to say: what is chosen by one set of sequences is reported on
another; rates are a grid that all estimators share; segments are laid at random."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array

from tbptt_jax.estimators.base import gradient
from tbptt_jax.estimators.full import Full
from tbptt_jax.forward import loss
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.measuring import checkpoint
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.tasks.base import Task
from tbptt_jax.training.loop import History, train

SEQUENCES = 256
"""Of a task that draws them, in each of the two sets."""


RATES = [1e-3, 3e-3, 1e-2]
EVALUATIONS = 10


def trainings(config: Config, task: Task, key: Array) -> list[dict[str, Any]]:
    """Rows of the trainings of a cell: its cell, hidden, estimator, updates and seeds, at all rates, on a task."""
    model = task.model(config["cell"], config["hidden"])
    watch = losses_apart(model, task)
    return chosen_and_reported(history_of(config, model, task, key, RATES, EVALUATIONS, watch), RATES)


def history_of(
    config: Config,
    model: Model,
    task: Task,
    key: Array,
    rates: Sequence[float],
    evaluations: int,
    watch: Callable[[Any], dict[str, Array]],
) -> History:
    """A cell's trainings by clipped Adam: its estimator, updates and seeds."""
    return train(
        model,
        config.estimator.laid_at_random(),
        task,
        clipped_adam,
        steps=config["updates"],
        key=key,
        evaluations=evaluations,
        seeds=config["seeds"],
        learning_rates=rates,
        watch=watch,
        checkpoint=checkpoint("training"),
    )


def after_updates(
    model: Model,
    params: Params,
    batch_of: Callable[[Array], Batch],
    key: Array,
    updates: int,
    optimizer: optax.GradientTransformation,
) -> Params:
    """Parameters after so many updates of full backpropagation, each on the batch that a key of its own gives. It is
    traced: many networks can be trained side by side."""
    if not updates:
        return params

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, state = carry
        changes, state = optimizer.update(gradient(Full(), model, params, batch_of(key)), state)
        return (optax.apply_updates(params, changes), state), None

    return jax.lax.scan(update, (params, optimizer.init(params)), jax.random.split(key, updates))[0][0]


def clipped_adam(rate: Any) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def losses_apart(model: Model, task: Task) -> Callable[[Any], dict[str, Array]]:
    """A function of the parameters, for a training to watch: the losses on two halves of the held-out sequences,
    "selection", by which something may be chosen, and "report", which is reported."""
    if task.batch_size is not None:
        batch_size = max(1, SEQUENCES // 16)  # a held-out set has as many sequences as 32 batches
        task = replace(task, batch_size=batch_size)  # type: ignore[type-var]
    held_out = task.held_out(jax.random.key(2**31 - 1))
    half = held_out.targets.shape[1] // 2

    def losses(params: Any) -> dict[str, Array]:
        parts: dict[str, Any] = {"selection": slice(None, half), "report": slice(half, None)}
        return {
            name: loss(model, params, jax.tree.map(lambda leaf, part=part: leaf[:, part], held_out))
            for name, part in parts.items()
        }

    return losses


def chosen_and_reported(history: History, rates: Sequence[float]) -> list[dict[str, Any]]:
    """A row for each learning rate and seed of a history `[rates, seeds, E]` whose training watched `losses_apart`:
    the losses at the evaluation at which the selection set has the smallest, `report` being the one to compare."""
    rows = []
    for i, rate in enumerate(rates):
        for run in range(history.loss.shape[1]):
            selection, report = (np.asarray(history.watched[name][i, run]) for name in ("selection", "report"))
            best = int(np.argmin(selection))
            rows.append(
                {
                    "learning_rate": rate,
                    "run": run,
                    "selection": float(selection[best]),
                    "report": float(report[best]),
                    "best_at": int(history.step[best]),
                    "loss": float(history.loss[i, run, -1]),
                    "diverged_at": int(history.diverged_at[i, run]),
                    "seconds": float(history.seconds[-1]),
                    "curve_updates": history.step,
                    "curve_seen": history.seen[i, run],
                    "curve_selection": selection,
                    "curve_report": report,
                }
            )
    return rows
