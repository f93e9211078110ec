"""What one cell measures: trainings at all learning rates, their losses on two sets of which neither is trained on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.models import Model
from tbptt_jax.tasks.base import Task

RATES = [1e-3, 3e-3, 1e-2]
SEQUENCES = 256
"""Of a task that draws them, in each of the two sets."""


def clipped_adam(rate: Any):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def losses_apart(model: Model, task: Task) -> Callable:
    """Of parameters, the losses by which something may be chosen, and those that are reported: of two halves of the
    sequences that are held out."""
    batch_size = max(1, SEQUENCES // 16)  # a held-out set has as many sequences as 32 batches
    held_out = replace(task, batch_size=batch_size).held_out(jax.random.key(2**31 - 1))  # type: ignore[type-var]
    half = held_out.targets.shape[1] // 2

    def losses(params: Any) -> dict[str, Array]:
        parts: dict[str, Any] = {"selection": slice(None, half), "report": slice(half, None)}
        return {
            name: tb.loss(model, params, jax.tree.map(lambda leaf, part=part: leaf[:, part], held_out))
            for name, part in parts.items()
        }

    return losses


def measure(config: Config, key: Array):
    task = replace(config.task, batch_size=config["batch"])
    model = task.model(config["cell"], config["hidden"])
    est = config.estimator
    if isinstance(est, tb.Segment) and est.offset == 0:  # what a loss sees must not depend on where it stands
        est = replace(est, offset="random")
    history = tb.train(
        model,
        est,
        task,
        clipped_adam,
        steps=config["updates"],
        key=key,
        evaluations=10,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=losses_apart(model, task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    rows = []
    for i, rate in enumerate(RATES):
        for run in range(config["seeds"]):
            selection, report = (history.watched[name][i, run] for name in ("selection", "report"))
            best = int(jnp.argmin(selection))
            rows.append(
                {
                    "learning_rate": rate,
                    "run": run,
                    "selection": float(selection[best]),
                    "report": float(report[best]),
                    "loss": float(history.loss[i, run, -1]),
                    "diverged_at": int(history.diverged_at[i, run]),
                    "seconds": float(history.seconds[-1]),
                    "curve_updates": history.step,
                    "curve_selection": selection,
                    "curve_report": report,
                }
            )
    return rows
