"""What one cell measures."""

from dataclasses import replace
from math import log
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream
from tbptt_jax.lab.protocol import chosen_and_reported, losses_apart

RATE, SLOWDOWN = 1e-3, 0.03
"""After t symbols, the rate is RATE / (1 + SLOWDOWN √t), as in the authors' program."""


def measure(config: Config, key: Array):
    task, symbols_an_update = in_a_stream(config.estimator, replace(config.task, batch_size=1), 1)
    model = task.model(config["cell"], config["hidden"])

    def optimizer(rate: Any) -> optax.GradientTransformation:
        return optax.adam(lambda updates: rate / (1 + SLOWDOWN * jnp.sqrt(updates * symbols_an_update)))

    history = tb.train(
        model,
        config.estimator,
        task,
        optimizer,
        steps=round(config["symbols"] / symbols_an_update),
        key=key,
        evaluations=20,
        seeds=config["seeds"],
        learning_rates=[RATE],
        watch=losses_apart(model, config.task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    floors = {name: value / log(2) for name, value in task.floors().items()}
    rows = chosen_and_reported(history, [RATE])
    return [row | floors | in_bits(row, history.loss[0, row["run"]]) for row in rows]


def in_bits(row: dict, online: np.ndarray) -> dict:
    """What was lost on the stream, each symbol before it was learned from, over its last twentieth; and by the network
    as it is, which learns no more, on the report set."""
    return {"bits": online[-1] / log(2), "curve_bits": online / log(2), "bits_at_rest": row["report"] / log(2)}
