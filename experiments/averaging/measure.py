"""What one cell measures: trainings at all learning rates, their losses on two sets of which neither is trained on."""

from dataclasses import replace

from jaxtyping import Array

from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import trainings


def measure(config: Config, key: Array):
    return trainings(config, replace(config.task, batch_size=config["batch"]), key)
