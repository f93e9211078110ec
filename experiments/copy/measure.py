"""What one cell measures."""

from dataclasses import replace
from math import exp

from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream
from tbptt_jax.lab.protocol import chosen_and_reported, clipped_adam, losses_apart

RATES = [3e-3, 1e-2]
GROUP = ["task", "series", "tau"]
FIXED, VARIABLE = "copy(longest=10)", "copy(longest=10, shortest=5)"


def measure(config: Config, key: Array):
    task = replace(config.task, batch_size=config["batch_size"])  # type: ignore[type-var]
    task, steps_an_update = in_a_stream(config.estimator, task, task.length)
    model = task.model("lstm", config["hidden"], layers=config["layers"])
    history = tb.train(
        model,
        config.estimator,
        task,
        clipped_adam,
        steps=round(config["symbols"] / (config["batch_size"] * steps_an_update)),
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=losses_apart(model, config.task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    blind = exp(task.floors()["blind"])
    return [row | {"blind": blind, "perplexity": exp(row["report"])} for row in chosen_and_reported(history, RATES)]
