"""Rows of what was learned: what experiments that train have in common."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.experiment import NotMeasured, Verdict
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
                {
                    name: value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
                    for name, value in row.items()
                }
            )
    return rows


def in_a_stream(est: Estimator, task: Task, chunk: int) -> tuple[Task, float]:
    """The task in the chunks that an estimator is trained in on a stream, and how many steps an update takes: others
    than `chunk` where its `pace` says so."""
    pace = est.pace(chunk)
    return replace(task, length=pace.chunk), pace.steps_an_update  # type: ignore[type-var]


def at_best_rate(table: pl.DataFrame, group: Sequence[str], by: str = "held_out") -> pl.DataFrame:
    """The rows at the learning rate whose mean of a column over seeds is the smallest, in each group; one at which runs
    diverged only where no other is left."""
    means = table.group_by([*group, "learning_rate"]).agg(
        pl.col(by).mean().alias("mean"), (pl.col("diverged_at") >= 0).any().alias("diverged")
    )
    best = (
        means.sort("diverged", "mean", "learning_rate")
        .group_by(group, maintain_order=True)
        .first()
        .drop("mean", "diverged")
    )
    return table.join(best, on=[*group, "learning_rate"], nulls_equal=True)


def error_of_difference(best: pl.DataFrame, group: Sequence[str], column: str = "held_out") -> float:
    """Twice the standard error of the difference of two means over seeds, from the spread in all groups together."""
    spread = best.group_by(group).agg(pl.col(column).var().alias("variance"), pl.len())
    if spread["variance"].null_count() == spread.height:
        raise NotMeasured("two seeds at least are needed to know the noise")
    return 2 * math.sqrt(2 * spread["variance"].mean() / spread["len"].mean())  # type: ignore[arg-type, operator]


def judged(pairs: Sequence[tuple[float, float]], error: float, measured: str) -> Verdict:
    """Of pairs (what should be smaller, the other): reproduced where most are smaller beyond the error and none is
    larger, not reproduced where as many or more are larger, else undecided."""
    smaller = sum(a < b - error for a, b in pairs)
    larger = sum(a > b + error for a, b in pairs)
    even = len(pairs) - smaller - larger
    counts = f"better in {smaller}, worse in {larger}, even within noise in {even} of {len(pairs)}"
    if not pairs:
        raise NotMeasured("two estimators to compare are needed")
    if even and smaller + larger <= len(pairs) / 2:
        return Verdict("undecided", f"{counts}; {measured}")
    good = larger == 0 and smaller > len(pairs) / 2
    return Verdict("reproduced" if good else "not reproduced", f"{counts}; {measured}")
