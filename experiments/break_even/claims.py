"""What is claimed of n*: on which side of a usual batch it lies, after training, over networks."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side
from tbptt_jax.lab.table import named

BATCH = 32.0  # sequences
LECTURE = 'the lecture: "it doesn\'t actually work any better in practice"'
OTHERS = "the other side of the lecture's sentence"
WORDS = {"by_error": "squared error", "by_efficiency": "efficiency"}


def claim(method: str, task: str, against: str, by: str, direction: str) -> Claim:
    """That n*, its geometric mean over the lengths, is below a batch, or above it, for most networks: for some it is
    millions of times as large as for others, so that the median decides."""
    where = (
        (named("task") == task)
        & (pl.col("against") == against)
        & (pl.col("method") == method)
        & (pl.col("training") > 0)
    )
    words = f"{method} against {against}s on {task}, after training"
    sentence = f"On {task}, {method} overtakes {against}s {direction} {BATCH:g} sequences an update, by {WORDS[by]}."
    return Claim(
        sentence,
        OTHERS if direction == "below" else LECTURE,
        by,
        Side(words, where, pooled=True),
        BATCH,
        direction,
        ratio=True,
        each=("training",),
        average="median",
    )


CLAIMS = (
    *(claim(method, "copy", "segment", by, "below") for method in ("randomized", "artbp") for by in WORDS),
    claim("randomized", "copy", "window", "by_error", "below"),
    *(claim("randomized", task, "segment", "by_error", "below") for task in ("recall", "adding")),
    *(claim(method, "time_machine", "segment", by, "above") for method in ("randomized", "artbp") for by in WORDS),
    *(claim("randomized", "time_machine", "window", by, "above") for by in WORDS),
    *(claim("randomized", "agreement", "segment", by, "above") for by in WORDS),
)
