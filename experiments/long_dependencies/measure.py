"""What one cell measures."""

from jaxtyping import Array

from tbptt_jax.errors import UserError
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import trainings

SOLVED = 0.9  # of the blind loss removed


def measure(config: Config, key: Array):
    task = config.task
    if task.streams or not {"best", "blind"} <= task.floors().keys():
        raise UserError(f'task: one of episodes is needed whose floors are "best" and "blind", got {task}')
    best, blind = (task.floors()[name] for name in ("best", "blind"))
    rows = trainings(config, task, key)
    for row in rows:
        row["distance"] = task.length - 1
        row["learned"] = 1 - (row["report"] - best) / (blind - best)
        row["curve_learned"] = 1 - (row["curve_report"] - best) / (blind - best)
    return rows
