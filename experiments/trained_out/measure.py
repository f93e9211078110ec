"""What one cell measures: what `time_machine` does, for longer and at higher rates."""

from typing import Any

from jaxtyping import Array

from tbptt_jax.experiments.time_machine.measure import read_at
from tbptt_jax.lab.config import Config

RATES = [1e-2, 2e-2]


def measure(config: Config, key: Array) -> list[dict[str, Any]]:
    return read_at(RATES, config, key)
