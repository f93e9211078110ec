"""What is claimed, and how it is judged: by intervals of n* that lie whole on one side of a usual batch."""

import polars as pl

from tbptt_jax.lab.experiment import Claim, Verdict, needed

BATCH = 32  # sequences
LOOKS_FAR = ["copy", "agreement"]


def side(table: pl.DataFrame, task: list[str], against: str, below: bool) -> Verdict:
    """Whether the intervals of n* of randomized truncation, after training, lie below a batch (or above it)."""
    name = pl.col("task").str.split("(").list.first()
    rows = table.filter(name.is_in(task) & (pl.col("against") == against) & (pl.col("method") == "randomized"))
    rows = needed(rows.filter(pl.col("training") > 0), f"randomized against {against} on {task}, after training")
    under, over = (rows["high"] < BATCH).sum(), (rows["low"] > BATCH).sum()
    yes, no = (under, over) if below else (over, under)
    counts = f"{under} of {rows.height} whole below {BATCH}, {over} whole above"
    measured = f"{counts}; median n* {rows['sequences'].median():.3g}"
    if yes > 0.9 * rows.height:
        return Verdict("reproduced", measured)
    return Verdict("not reproduced" if no > 0.1 * rows.height else "undecided", measured)


CLAIMS = (
    Claim(
        "Where the task looks far (copy, agreement), unbiased truncation has a smaller error than segments from fewer "
        "than 32 sequences an update on, in nine of ten settings.",
        "break-even; Tallec & Ollivier 2017 say that it can pay",
        lambda table: side(table, LOOKS_FAR, "segment", below=True),
    ),
    Claim(
        "On text, segments keep the smaller error beyond 32 sequences an update, in nine of ten settings.",
        'the lecture: "it doesn\'t actually work any better in practice"',
        lambda table: side(table, ["time_machine"], "segment", below=False),
    ),
    Claim(
        "On text, windows keep the smaller error beyond 32 sequences an update, in nine of ten settings.",
        'the lecture: "it doesn\'t actually work any better in practice"',
        lambda table: side(table, ["time_machine"], "window", below=False),
    ),
)
