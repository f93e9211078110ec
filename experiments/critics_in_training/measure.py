"""What one cell measures."""

from dataclasses import replace

from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Chosen, Config
from tbptt_jax.lab.protocol import trainings


def measure(config: Config, key: Array):
    rows = trainings(config, replace(config.task, batch_size=config["batch"]), key)
    return [row | {"way": way(config.chosen[0])} for row in rows]


def way(chosen: Chosen) -> str:
    """A method, and whether it has a critic, as figures name them."""
    est = chosen.estimator
    return chosen.method + (" with a critic" if isinstance(est, tb.GatedEstimator) and est.critic is not None else "")
