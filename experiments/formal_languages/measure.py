"""What one cell measures."""

from math import log
from typing import Any

import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream, learning_rows

RATES = [1e-3, 3e-3, 1e-2]
CHUNK = 32
GROUP = ["task", "series", "tau"]


def clipped_adam(rate: Any):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def measure(config: Config, key: Array):
    est = config.estimator
    task, steps_an_update = in_a_stream(est, config.task, CHUNK)
    history = tb.train(
        task.model(config["cell"], config["hidden"]),
        est,
        task,
        clipped_adam,
        steps=round(config["symbols"] / (task.batch_size * steps_an_update)),
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        checkpoint=tb.lab.checkpoint("training"),
    )
    floors = {name: value / log(2) for name, value in task.floors().items()}
    rows = learning_rows(history, RATES, **floors)
    for row in rows:
        row |= {"bits": row["held_out"] / log(2), "curve_bits": row["curve_held_out"] / log(2)}
    return rows
