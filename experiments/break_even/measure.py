"""What one cell measures."""

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Chosen, Config
from tbptt_jax.lab.protocol import clipped_adam
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.tasks.base import Task

BATCH = 32  # of the training
RATE = 3e-3
LEAST, MOST = 0.5, 1e6
DRAWN = 64
"""Sequences of which the variance of the draws is computed; of the others, only what is given on average."""


@cache
def trained(task: Task, cell: str, hidden: int, updates: int, seed: int, radius: float | None = None) -> Any:
    """Parameters after so many updates of exact gradients; the same for every length of truncation."""
    model = task.model(cell, hidden, radius=radius)
    key = jax.random.key(seed)
    if updates == 0:
        return model.init(key)
    options = {"steps": updates, "key": key, "evaluations": 1, "learning_rates": [RATE]}
    whole = tb.train(model, tb.Full(), replace(task, batch_size=BATCH), clipped_adam, **options)
    return jax.tree.map(lambda leaf: leaf[0], whole.params)


def first_steps(task: Any, count: int, key: Array) -> Batch:
    """So many sequences; of a stream, as much as is between two updates of the training."""
    batch = replace(task, batch_size=count).batch(key)
    return jax.tree.map(lambda leaf: leaf[: task.length], batch)


@partial(jax.jit, static_argnames=("est", "model"))
def moments_of(est: Estimator, model: Model, params: Params, batch: Batch) -> Any:
    """Compiled once for all networks."""
    return tb.exact.by_sequence(est, model, params, batch, first=DRAWN)


def measure(config: Config, key: Array):
    task: Any = config.task
    network = config["cell"], config["hidden"]
    radius = config.get("radius")
    params = trained(task, *network, config["training"], config.seed, radius)
    model = task.model(*network)  # the same for all radii, and compiled for once
    batch = first_steps(task, config["population"], jax.random.fold_in(key, 1))
    moments, sides = {}, []
    for one in config.chosen:
        est = one.estimator.laid_at_random()
        if est.law(task.length) is None:
            raise UserError(f"estimator: one whose exact variance is known is needed, got {est}")
        moments[one.series] = jax.device_get(moments_of(est, model, params, batch))
        sides.append(Measured(one, est, one.series))
    return [row | {"length": task.length} for row in pairs(sides, moments)]


class Measured(NamedTuple):
    """An estimator as a grid names it, what it is made into, and what it is called where others are held against it."""

    one: Chosen
    est: Estimator
    name: str


def pairs(sides: list[Measured], moments: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for every unbiased estimator against every biased one, from their moments by name."""
    rows = []
    for ours in (side for side in sides if side.est.unbiased != "never"):
        for theirs in (side for side in sides if side.est.unbiased == "never"):
            found = tb.exact.level(moments[ours.name], moments[theirs.name])
            rows.append(
                {"estimator": ours.one.text, "series": ours.one.series, "method": ours.one.method}
                | {"against": theirs.name}
                | {name: min(value, 1e12) for name, value in found._asdict().items()}
                | {"by_error": within_bounds(found.sequences), "by_efficiency": within_bounds(found.efficiency)}
            )
    return rows


def within_bounds(n: float) -> float:
    """A number of sequences that can be drawn and compared: below one, and beyond all batches, are no numbers."""
    return min(max(n, LEAST), MOST)
