"""What one cell measures."""

from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import UserError
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import chosen_and_reported, clipped_adam, laid_at_random, losses_apart

RATES = [1e-3, 3e-3, 1e-2]
SOLVED = 0.9  # of the blind loss removed


def measure(config: Config, key: Array):
    task = config.task
    if task.streams or not {"best", "blind"} <= task.floors().keys():
        raise UserError(f'task: one of episodes is needed whose floors are "best" and "blind", got {task}')
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
    best, blind = (task.floors()[name] for name in ("best", "blind"))
    rows = chosen_and_reported(history, RATES)
    for row in rows:
        row["distance"] = task.length - 1
        row["learned"] = 1 - (row["report"] - best) / (blind - best)
        row["curve_learned"] = 1 - (row["curve_report"] - best) / (blind - best)
    return rows
