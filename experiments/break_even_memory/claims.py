"""What is claimed of n* at equal memory; the median over networks decides, as in `break_even`."""

import polars as pl

from tbptt_jax.experiments.break_even.claims import BATCH, LECTURE, OTHERS
from tbptt_jax.experiments.break_even.words import plural
from tbptt_jax.lab.claims import Claim, Side
from tbptt_jax.lab.table import named

OURS = "this package"
METHODS = {"randomized": "Equal gates", "artbp": "ARTBP", "optimal": "Gates that cut where it costs least"}


def n_star(method: str, task: str, against: str = "segment", states: int | None = None) -> Side:
    """n* of an unbiased truncation, at one memory or, as a geometric mean, at all."""
    where = (named("task") == task) & (pl.col("method") == method) & (pl.col("against") == against)
    words = f"{method} against {plural(against)} on {task}"
    if states is None:
        return Side(words, where, pooled=True)
    return Side(f"{words} with {states} states", where & (pl.col("tau") == states))


def compare(sentence: str, source: str, ours: Side, theirs: Side | float, direction: str) -> Claim:
    return Claim(sentence, source, "by_error", ours, theirs, direction, ratio=True, average="median")


def overtakes(method: str, task: str, direction: str) -> Claim:
    return compare(
        f"With 16 states on {task}, {method} overtakes segments {direction} {BATCH:g} sequences an update.",
        OTHERS if direction == "below" else LECTURE,
        n_star(method, task, states=16),
        BATCH,
        direction,
    )


def sooner(method: str, task: str, than: str) -> Claim:
    sentence = f"{METHODS[method]} overtake{'s' * (method == 'artbp')} segments sooner than {than} on {task}."
    return compare(sentence, OURS, n_star(method, task), n_star(than, task), "below")


def later(against: str, than: str, task: str) -> Claim:
    return compare(
        f"Equal gates overtake {plural(against)} of as many states later than {plural(than)} on {task}.",
        OURS,
        n_star("randomized", task, against),
        n_star("randomized", task, than),
        "above",
    )


CLAIMS = (
    *(overtakes(method, "copy", "below") for method in METHODS),
    *(overtakes(method, "time_machine", "above") for method in METHODS),
    *(sooner("optimal", task, "randomized") for task in ("copy", "recall", "time_machine")),
    *(sooner("artbp", task, "randomized") for task in ("copy", "time_machine")),
    *(later("buffered", "segment", task) for task in ("copy", "time_machine")),
    *(later("window", "buffered", task) for task in ("copy", "time_machine")),
)
