"""What is claimed of the variance with a critic over that without."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side
from tbptt_jax.lab.table import named

OURS = "this package, after Jaderberg et al. 2017 and Pemberton & Costa 2024"
BATCH = 32.0
TRAINED = pl.col("training") > 0


def side(task: str, critic: str, quantity: str = "") -> Side:
    where = (named("task") == task) & pl.col("critic").str.starts_with(critic) & TRAINED
    return Side(f"{quantity or critic} on {task}, during training", where, quantity=quantity)


def compare(sentence: str, source: str, ours: Side, value: float, direction: str, margin: float = 0.0) -> Claim:
    """By medians: networks differ by orders of magnitude."""
    quantity = ours.quantity or "ratio"
    return Claim(sentence, source, quantity, ours, value, direction, margin, True, ("training",), average="median")


CLAIMS = (
    *(
        compare(
            f"On {task}, a critic of random features takes at least half of the variance away.",
            *(OURS, side(task, "features"), 0.5, "below"),
        )
        for task in ("recall", "copy")
    ),
    *(
        compare(
            f"On {task}, where the state does not know what will be asked, a critic changes the variance by less than "
            "a tenth.",
            *(OURS, side(task, "linear"), 1.0, "level", 0.1),
        )
        for task in ("adding", "agreement")
    ),
    compare(
        "On text, credit is noise: random features take less than a tenth of the variance away.",
        *("E[e | past] = 0 for calibrated predictions", side("time_machine", "features"), 0.9, "above"),
    ),
    compare(
        "On recall, with a critic, randomized truncation has a smaller squared error than segments in batches of 32.",
        *(OURS, side("recall", "features", "sequences_with"), BATCH, "below"),
    ),
)
