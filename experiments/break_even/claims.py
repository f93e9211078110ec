"""What is claimed, and how it is judged: by intervals of n* that lie whole on one side of a usual batch."""

import polars as pl

from tbptt_jax.lab.claims import Judged, Verdict, needed

BATCH = 32  # sequences
LOOKS_FAR = ["copy", "agreement"]


def side(table: pl.DataFrame, method: str, task: list[str], against: str, below: bool) -> Verdict:
    """Whether the intervals of n* of an unbiased truncation, after training, lie below a batch (or above it)."""
    name = pl.col("task").str.split("(").list.first()
    rows = table.filter(name.is_in(task) & (pl.col("against") == against) & (pl.col("method") == method))
    rows = needed(rows.filter(pl.col("training") > 0), f"{method} against {against} on {task}, after training")
    under, over = (rows["high"] < BATCH).sum(), (rows["low"] > BATCH).sum()
    yes, no = (under, over) if below else (over, under)
    counts = f"{under} of {rows.height} whole below {BATCH}, {over} whole above"
    measured = f"{counts}; median n* {rows['sequences'].median():.3g}"
    if yes > 0.9 * rows.height:
        return Verdict("reproduced", measured)
    return Verdict("not reproduced" if no > 0.1 * rows.height else "undecided", measured)


def claims_of(method: str) -> list[Judged]:
    """What is claimed of one unbiased truncation."""
    lecture = 'the lecture: "it doesn\'t actually work any better in practice"'
    return [
        Judged(
            f"Where the task looks far (copy, agreement), {method} has a smaller error than segments from fewer than "
            f"{BATCH} sequences an update on, in nine of ten settings.",
            "the other side of the lecture's sentence",
            lambda table: side(table, method, LOOKS_FAR, "segment", below=True),
        ),
        Judged(
            f"On text, segments keep a smaller error than {method} beyond {BATCH} sequences an update, in nine of ten "
            "settings.",
            lecture,
            lambda table: side(table, method, ["time_machine"], "segment", below=False),
        ),
        Judged(
            f"On text, windows keep a smaller error than {method} beyond {BATCH} sequences an update, in nine of ten "
            "settings.",
            lecture,
            lambda table: side(table, method, ["time_machine"], "window", below=False),
        ),
    ]


CLAIMS = (*claims_of("randomized"), *claims_of("artbp"))
