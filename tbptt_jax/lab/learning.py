"""Rows of what was learned: what the measures of experiments that train have in common."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.tasks.base import Task
from tbptt_jax.training.loop import History


def learning_rows(history: History, learning_rates: Sequence[float], **more: Any) -> list[dict[str, Any]]:
    """A row for each learning rate and seed of a history `[rates, seeds, E]`: the last and the best held-out loss, the
    divergence, and as curves all figures at the evaluations. `more` holds values `[rates, seeds]`, or one for all."""
    rows = []
    for i, rate in enumerate(learning_rates):
        for j in range(history.held_out.shape[1]):
            held_out = history.held_out[i, j]
            row = {
                "learning_rate": float(rate),
                "replica": j,
                "held_out": float(held_out[-1]),
                "best_held_out": float(held_out.min()),
                "train_loss": float(history.loss[i, j, -1]),
                "diverged_at": int(history.diverged_at[i, j]),
                "updates": int(history.step[-1]),
                "seen": int(history.seen[i, j, -1]),
                "seconds": float(history.seconds[-1]),
                "curve_updates": history.step,
                "curve_seen": history.seen[i, j],
                "curve_seconds": history.seconds / history.held_out[..., 0].size,
                "curve_held_out": held_out,
                "curve_loss": history.loss[i, j],
            }
            row |= {name: value[i, j] if np.ndim(value) else value for name, value in more.items()}
            rows.append(
                {name: np.asarray(value).item() if np.ndim(value) == 0 else value for name, value in row.items()}
            )
    return rows


def in_a_stream(est: Estimator, task: Task, chunk: int) -> tuple[Task, float]:
    """The task in the chunks that an estimator is trained in on a stream, and how many steps an update takes: others
    than `chunk` where its `pace` says so."""
    if not task.streams:
        raise UserError(f"task: one that is a stream is needed, got {task}")
    pace = est.pace(chunk)
    looks_back = est.carries_more or est.learns or est.nominal_length in (None, 1)
    if pace.chunk == 1 and not looks_back:
        raise UserError(f"estimator: {est} looks back within a chunk alone, and would do so over the one step of each")
    return replace(task, length=pace.chunk), pace.steps_an_update  # type: ignore[type-var]
