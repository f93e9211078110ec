"""What the judges of experiments that train have in common: best rates, noise, and counts of pairs."""

import math
from collections.abc import Sequence

import polars as pl

from tbptt_jax.lab.claims import NotMeasured, Verdict


def at_best_rate(table: pl.DataFrame, group: Sequence[str], by: str = "held_out") -> pl.DataFrame:
    """The rows at the learning rate whose mean of a column over seeds is the smallest, in each group; one at which runs
    diverged only where no other is left."""
    means = table.group_by([*group, "learning_rate"]).agg(
        pl.col(by).mean().alias("mean"), (pl.col("diverged_at") >= 0).any().alias("diverged")
    )
    best = (
        means.sort("diverged", "mean", "learning_rate")
        .group_by(group, maintain_order=True)
        .first()
        .drop("mean", "diverged")
    )
    return table.join(best, on=[*group, "learning_rate"], nulls_equal=True)


def error_of_difference(best: pl.DataFrame, group: Sequence[str], column: str = "held_out") -> float:
    """Twice the standard error of the difference of two means over seeds, from the spread in all groups together."""
    spread = best.group_by(group).agg(pl.col(column).var().alias("variance"), pl.len())
    if spread["variance"].null_count() == spread.height:
        raise NotMeasured("two seeds at least are needed to know the noise")
    return 2 * math.sqrt(2 * spread["variance"].mean() / spread["len"].mean())  # type: ignore[arg-type, operator]


def judged(pairs: Sequence[tuple[float, float]], error: float, measured: str) -> Verdict:
    """Of pairs (what should be smaller, the other): reproduced where most are smaller beyond the error and none is
    larger, not reproduced where as many or more are larger, else undecided."""
    smaller = sum(a < b - error for a, b in pairs)
    larger = sum(a > b + error for a, b in pairs)
    even = len(pairs) - smaller - larger
    counts = f"better in {smaller}, worse in {larger}, even within noise in {even} of {len(pairs)}"
    if not pairs:
        raise NotMeasured("two estimators to compare are needed")
    if even and smaller + larger <= len(pairs) / 2:
        return Verdict("undecided", f"{counts}; {measured}")
    good = larger == 0 and smaller > len(pairs) / 2
    return Verdict("reproduced" if good else "not reproduced", f"{counts}; {measured}")
