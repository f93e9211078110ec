"""What one cell measures: what `online` does, by another optimizer."""

import optax
from jaxtyping import Array

from tbptt_jax.errors import choose
from tbptt_jax.experiments.online.measure import learned_by
from tbptt_jax.lab.config import Config

TIMES = {"adam": 1, "rmsprop": 1, "sgd": 30}
"""By how much the rates of `online` are multiplied: plain descent takes larger steps."""
OPTIMIZERS = {
    "adam": optax.adam,
    "rmsprop": optax.rmsprop,
    "sgd": lambda rate: optax.sgd(TIMES["sgd"] * rate),
}


def measure(config: Config, key: Array):
    return learned_by(choose("optimizer", config["optimizer"], OPTIMIZERS), config, key)
