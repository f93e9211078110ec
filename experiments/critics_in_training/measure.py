"""What one cell measures."""

from dataclasses import replace

from jaxtyping import Array

from tbptt_jax.lab.config import Chosen, Config
from tbptt_jax.lab.protocol import trainings


def measure(config: Config, key: Array):
    rows = trainings(config, replace(config.task, batch_size=config["batch"]), key)
    return [row | {"way": way(config.chosen[0])} for row in rows]


def way(chosen: Chosen) -> str:
    """A method, and whether it has a critic, as figures name them."""
    return chosen.method + (" with a critic" if chosen.estimator.critic is not None else "")
