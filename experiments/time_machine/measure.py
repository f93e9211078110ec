"""What one cell measures."""

from dataclasses import replace
from typing import Any

import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream, learning_rows

CHUNK = 64
RATES = [0.5, 2.0, 4.0]
GROUP = ["cell", "order", "series", "tau"]


def clipped_sgd(rate: Any):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate))


def measure(config: Config, key: Array):
    if config["cell"] == "trigram" and config.estimator != tb.Full():
        return []  # every estimator of its gradient is the exact one
    est, steps_an_update = config.estimator, CHUNK
    task = replace(config.task, length=CHUNK, batch_size=config["batch"], order=config["order"])
    if task.streams:
        task, steps_an_update = in_a_stream(est, task, CHUNK)
    model = tb.trigram(task.inputs) if config["cell"] == "trigram" else task.model(config["cell"], config["hidden"])
    history = tb.train(
        model,
        est,
        task,
        clipped_sgd,
        steps=round(config["symbols"] / (config["batch"] * steps_an_update)),
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        checkpoint=tb.lab.checkpoint("training"),
    )
    return learning_rows(history, RATES, uniform=task.floors()["uniform"])
