"""What one cell measures: trainings at all learning rates, their losses on two sets of which neither is trained on."""

from dataclasses import replace

from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import chosen_and_reported, clipped_adam, laid_at_random, losses_apart

RATES = [1e-3, 3e-3, 1e-2]


def measure(config: Config, key: Array):
    task = replace(config.task, batch_size=config["batch"])
    model = task.model(config["cell"], config["hidden"])
    history = tb.train(
        model,
        laid_at_random(config.estimator),
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
    return chosen_and_reported(history, RATES)
