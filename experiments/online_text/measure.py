"""What one cell measures: what `online` does, without the alignment, beside counted n-grams."""

from typing import Any

import optax
from jaxtyping import Array

from tbptt_jax.experiments.online.measure import read_by
from tbptt_jax.experiments.time_machine.measure import counted_losses
from tbptt_jax.lab.config import Config


def measure(config: Config, key: Array) -> list[dict[str, Any]]:
    _, rows = read_by(optax.adam, config, key)
    return [row | counted_losses(config.task) for row in rows]
