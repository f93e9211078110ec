"""What one cell measures."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.predicted import estimate_across
from tbptt_jax.experiments.break_even.measure import DRAWN, first_steps, moments_of, trained
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.lab.config import Config
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.tasks.base import Task

BATCH = 32  # sequences of a chunk that a critic learns from


def measure(config: Config, key: Array):
    chosen = {one.text: one.estimator for one in config.chosen}
    alone = [est for est in chosen.values() if est.critic is None]
    critical = [est for est in chosen.values() if est.critic is not None]
    if len(alone) != 1 or not critical or any(replace(est, critic=None) != alone[0] for est in critical):
        raise UserError(f"estimator: one without a critic, and the same with some, are needed; got {', '.join(chosen)}")
    if alone[0].nominal_length is None:
        raise UserError(f"estimator: one with a nominal length is needed, which segments are given; got {alone[0]}")
    length = round(alone[0].nominal_length)
    task = replace(config.task, batch_size=BATCH)
    model = task.model(config["cell"], config["hidden"])
    params = trained(config.task, config["cell"], config["hidden"], config["training"], config.seed)
    batch = first_steps(task, config["population"], jax.random.fold_in(key, 1))

    segments, without = (moments_of(est, model, params, batch) for est in (tb.Segment(length, "random"), alone[0]))
    rows = []
    for text, est in chosen.items():
        if est.critic is None:
            continue
        carry = fitted(est, model, params, task, jax.random.fold_in(key, 2), config["chunks"])
        with_it = jax.jit(partial(tb.exact.by_sequence, est.frozen(carry, task.length), model, first=DRAWN))(
            params, batch
        )
        levels = [tb.exact.level(*jax.device_get(pair)) for pair in ((without, segments), (with_it, segments))]
        rows.append(
            {"estimator": text, "critic": str(est.critic), "tau": length}
            | {"explained": explained(est, carry, model, params, batch)}
            | {"ratio": float(jnp.sum(with_it.drawn) / jnp.sum(without.drawn))}
            | {f"sequences_{name}": min(level.sequences, 1e12) for name, level in zip(("without", "with"), levels)}
        )
    return rows


@partial(jax.jit, static_argnames=("est", "model", "task", "chunks"))
def fitted(est: Any, model: Model, params: Params, task: Task, key: Array, chunks: int) -> Any:
    """What the estimator carries after so many chunks, each of fresh sequences."""

    def see(carry, key):
        batch = first_steps(task, BATCH, key)
        return est(model, params, est.restart(model, params, carry, batch, None), batch, key)[1], None

    start = est.init(model, params, first_steps(task, BATCH, key), None)
    return lax.scan(see, start, jax.random.split(key, chunks))[0]


def explained(est: Any, carry: Any, model: Model, params: Params, batch: Batch) -> float:
    """The part of the squared credits that crosses from step to step, uncut, which the critic foresees (R²)."""
    predict = partial(est.critic.predict, carry.critic)
    shape = batch.targets.shape[:2]
    start = model.initial_state(params, shape[1])
    seen = estimate_across(Gates(None), jnp.ones(shape), predict, model, params, start, batch)[2]
    states, credits = seen.lessons(beyond=False)
    return float(1 - jnp.sum((predict(states) - credits) ** 2) / jnp.sum(credits**2))
