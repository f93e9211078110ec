"""What figures of experiments that train have in common: the rows at the best learning rate."""

from collections.abc import Sequence

import polars as pl


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
