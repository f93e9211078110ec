"""What is claimed, and how the table judges it."""

import polars as pl

from tbptt_jax.experiments.best_gates.measure import GROUP
from tbptt_jax.lab.claims import Judged, Verdict, needed


def side_by_side(table: pl.DataFrame):
    """A row for each setting and seed: the variances of all three, and the least."""
    parts = [
        table.filter(pl.col("series") == name).select(*GROUP, "replica", pl.col("variance").alias(name))
        for name in ("randomized", "artbp")
    ]
    best = table.filter(pl.col("series") == "optimal")
    both = best.select(*GROUP, "replica", "least", pl.col("variance").alias("optimal"))
    for part in parts:
        both = both.join(part, on=[*GROUP, "replica"])
    return needed(both, "randomized, artbp and optimal are needed")


def ratios(table: pl.DataFrame, above: str, below: str):
    """The median and the range of a ratio of two columns, by where the losses are."""
    # where a loss is the last alone, the variance of the best gates is 0 for all that floating point can tell
    ratio = (pl.col(above) / pl.col(below).clip(1e-12)).alias("ratio")
    parts = table.select(*GROUP, ratio).group_by("losses", maintain_order=True)
    means = parts.agg(pl.col("ratio").median().alias("mid"), pl.col("ratio").min().alias("low"), pl.max("ratio"))
    return "; ".join(f"{losses}: {mid:.3g} ({low:.3g} to {high:.3g})" for losses, mid, low, high in means.iter_rows())


def best_gates_are_better(table: pl.DataFrame):
    both = side_by_side(table)
    won = both.filter(pl.col("least") < 0.9 * pl.col("randomized")).height
    measured = (
        f"by more than a tenth in {won} of {both.height}; equal over least: {ratios(both, 'randomized', 'least')}"
    )
    return Verdict("reproduced" if won >= 0.9 * both.height else "not reproduced", measured)


def estimate_is_good(table: pl.DataFrame):
    """Below equal gates in nine of ten settings, and in the middle of those with losses at every step with at least
    half of the gain, on a logarithmic scale, that is to be had."""
    both = side_by_side(table)
    better = both.filter(pl.col("optimal") < pl.col("randomized"))
    equal = pl.col("randomized").log()
    gained = (equal - pl.col("optimal").log()) / (equal - pl.col("least").log())
    gain = both.filter((pl.col("losses") == "every step") & (pl.col("least") < pl.col("randomized"))).select(gained)
    gain = gain.to_series().median()
    measured = (
        f"below equal gates in {better.height} of {both.height}; equal over estimated: "
        f"{ratios(both, 'randomized', 'optimal')}; with losses at every step it has {gain:.2f} of the logarithm of the "
        "gain in the middle"
    )
    return Verdict("reproduced" if better.height >= 0.9 * both.height and gain > 0.5 else "not reproduced", measured)


def artbp_is_between(table: pl.DataFrame):
    both = side_by_side(table)
    better = both.filter(pl.col("artbp") < pl.col("randomized")).height
    worse = both.filter(pl.col("artbp") > pl.col("least")).height
    beaten = both.filter(pl.col("artbp") < pl.col("least")).group_by("tau").len().sort("tau").iter_rows()
    measured = (
        f"below equal gates in {better} of {both.height}, above the least in {worse} (below it in "
        f"{', '.join(f'{count} at τ = {tau}' for tau, count in beaten) or 'none'}); artbp over least: "
        f"{ratios(both, 'artbp', 'least')}"
    )
    good = better >= 0.9 * both.height and worse >= 0.9 * both.height
    return Verdict("reproduced" if good else "not reproduced", measured)


OURS = "this package"
CLAIMS = (
    Judged("Cutting where it costs least has less variance than cutting anywhere.", OURS, best_gates_are_better),
    Judged("A running estimate finds such places, on batches that it has not seen.", OURS, estimate_is_good),
    Judged("ARTBP lies between equal gates and the best independent ones.", OURS, artbp_is_between),
)
