"""What one cell measures."""

from math import log

from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream
from tbptt_jax.lab.protocol import RATES, chosen_and_reported, clipped_adam, losses_apart

CHUNK = 32
GROUP = ["task", "series", "tau"]


def measure(config: Config, key: Array):
    est = config.estimator
    task, steps_an_update = in_a_stream(est, config.task, CHUNK)
    model = task.model(config["cell"], config["hidden"])
    history = tb.train(
        model,
        est,
        task,
        clipped_adam,
        steps=round(config["symbols"] / (task.batch_size * steps_an_update)),
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=losses_apart(model, config.task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    floors = {name: value / log(2) for name, value in task.floors().items()}
    return [row | floors | in_bits(row) for row in chosen_and_reported(history, RATES)]


def in_bits(row: dict) -> dict:
    return {"bits": row["report"] / log(2), "curve_bits": row["curve_report"] / log(2)}
