"""What is claimed of variances, of the same networks on the same sequences, at the same memory."""

import polars as pl

from tbptt_jax.experiments.best_lengths.measure import BEST
from tbptt_jax.lab.claims import Claim, Side
from tbptt_jax.lab.table import named

OURS = "this package"
TENTH = 0.1
TASKS = ("copy", "recall", "time_machine")


def on(task: str, series: str) -> Side:
    return Side(f"{series} on {task}", (named("task") == task) & (pl.col("series") == series))


def less(sentence: str, task: str, series: str, than: str) -> Claim:
    """A tenth less variance, at least, for both kinds of memory and all numbers of states."""
    sides = on(task, series), on(task, than)
    return Claim(f"On {task}, {sentence}.", OURS, "variance", *sides, "below", TENTH, True, ("memory", "tau"))


CLAIMS = (
    *(less("the best lengths have less variance than equal gates", task, BEST, "randomized") for task in TASKS),
    *(less("segments that rest have less variance than equal gates", task, "by_age", "randomized") for task in TASKS),
    *(less("segments that rest have less variance than ARTBP's", task, "by_age", "artbp") for task in TASKS),
    *(less("the best lengths have less variance than the best places", task, BEST, "optimal") for task in TASKS),
)
