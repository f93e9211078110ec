"""What one cell measures."""

from typing import Any

import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import UserError
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import learning_rows

RATES = [1e-3, 3e-3, 1e-2]
GROUP = ["task", "cell", "series", "tau"]
SOLVED = 0.9  # of the blind loss removed


def clipped_adam(rate: Any):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def measure(config: Config, key: Array):
    task = config.task
    if task.streams or not {"best", "blind"} <= task.floors().keys():
        raise UserError(f'task: one of episodes is needed whose floors are "best" and "blind", got {task}')
    length = task.length
    history = tb.train(
        task.model(config["cell"], config["hidden"]),
        config.estimator,
        task,
        clipped_adam,
        steps=config["updates"],
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        checkpoint=tb.lab.checkpoint("training"),
    )
    floors = task.floors()
    rows = learning_rows(history, RATES, sees_all_from=length, **floors)
    for row in rows:
        span = floors["blind"] - floors["best"]
        row |= {"learned": 1 - (row["held_out"] - floors["best"]) / span}
        row |= {"curve_learned": 1 - (row["curve_held_out"] - floors["best"]) / span}
    return rows
