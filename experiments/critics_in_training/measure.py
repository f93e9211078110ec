"""What one cell measures."""

from dataclasses import replace

from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Chosen, Config
from tbptt_jax.lab.protocol import chosen_and_reported, clipped_adam, losses_apart

RATES = [1e-3, 3e-3, 1e-2]


def measure(config: Config, key: Array):
    task = replace(config.task, batch_size=config["batch"])
    model = task.model(config["cell"], config["hidden"])
    history = tb.train(
        model,
        config.estimator,
        task,
        clipped_adam,
        steps=config["updates"],
        key=key,
        evaluations=10,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=losses_apart(model, task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    return [row | {"way": way(config.chosen[0])} for row in chosen_and_reported(history, RATES)]


def way(chosen: Chosen) -> str:
    """A method, and whether it has a critic, as figures name them."""
    est = chosen.estimator
    return chosen.method + (" with a critic" if isinstance(est, tb.GatedEstimator) and est.critic is not None else "")
