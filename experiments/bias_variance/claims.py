"""What is claimed, and what holds by construction."""

import polars as pl

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.claims import Check, Claim, Side, needed

UNBIASED = ["randomized", "artbp"]
IN_CLOSED_FORM = pl.col("exact")
IS_BIASED = pl.col("unbiased") == "never"
TRUNCATION = pl.col("series").is_in(["segment", "window", "buffered"])
IS_LONGEST, IS_SHORTEST = pl.col("tau") == pl.col("tau").max(), pl.col("tau") == pl.col("tau").min()


def randomized_mean_is_exact(table: pl.DataFrame):
    rows = needed(table.filter(IN_CLOSED_FORM & ~IS_BIASED), "an unbiased estimator with a τ is needed")
    largest = rows["bias"].max()
    return largest < 1e-6, f"largest exact bias² {largest:.1e} ‖g‖²"  # type: ignore[operator]


def truncation_has_no_variance(table: pl.DataFrame):
    largest = needed(table.filter(TRUNCATION), "a fixed truncation is needed")["variance"].max()
    return largest == 0, f"largest exact variance {largest:g}"


def promises_are_kept(table: pl.DataFrame):
    """Estimators without a closed form, by the 95% intervals of their squared bias. Those that perturb have the mean of
    a smoothed loss, which for sigma = 0.01 cannot be told from the loss here."""
    rows = needed(table.filter(~IS_BIASED & ~IN_CLOSED_FORM), "a sampled estimator that says it is unbiased is needed")
    covered = rows.filter(pl.col("bias_low") <= 0).height
    said = ", ".join(
        f"{name} {bias:.2g} of {variance:.2g}"
        for name, bias, variance in rows.group_by("method", maintain_order=True)
        .agg(pl.col("bias").median(), pl.col("variance").median())
        .iter_rows()
    )
    measured = f"the interval of bias² holds 0 in {covered} of {rows.height}; bias² and variance in the middle: {said}"
    return covered >= 0.85 * rows.height, measured


def one(series: str, where: pl.Expr) -> Side:
    return Side(series, (pl.col("series") == series) & where, pooled=True)


SETTING = ("cell", "radius", "training")
FIRST = pl.col("training") == 0
CHECKS = (
    Check(
        "The mean of randomized truncation is the full gradient.", "Tallec & Ollivier 2017", randomized_mean_is_exact
    ),
    Check("Regular truncation draws nothing.", CHAPTER, truncation_has_no_variance),
    Check(
        "The other estimators are unbiased where they say so.", "Tallec & Ollivier 2018 and others", promises_are_kept
    ),
)
MEDIAN = "median"  # networks differ by orders of magnitude
CLAIMS = (
    Claim(
        "The longest truncation has less bias than the shortest.",
        *(CHAPTER, "bias"),
        Side("the longest truncation", TRUNCATION & IS_LONGEST, pooled=True),
        Side("the shortest truncation", TRUNCATION & IS_SHORTEST, pooled=True),
        ratio=True,
        each=("cell", "series"),
        average=MEDIAN,
    ),
    Claim(
        "The variance of randomized truncation grows as keep falls.",
        *(CHAPTER, "variance", one("randomized", IS_SHORTEST), one("randomized", IS_LONGEST), "above"),
        ratio=True,
        each=SETTING,
        average=MEDIAN,
    ),
    *(
        Claim(
            f"In the squared error of one sequence, {series} is worse than segments of its expected length, {when} "
            "(geometric means over lengths and radii).",
            *(CHAPTER, "mse", one(series, stage), one("segment", stage), "above"),
            ratio=True,
            each=("cell",),
            average=MEDIAN,
        )
        for series in UNBIASED
        for when, stage in (("before training", FIRST), ("after training", ~FIRST))
    ),
)
