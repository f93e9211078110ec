"""What is claimed, and how the table judges it."""

from itertools import pairwise

import polars as pl

from tbptt_jax.experiments.bias_variance.measure import GROUP
from tbptt_jax.lab.claims import Judged, NotMeasured, Verdict, needed

UNBIASED = ["randomized", "artbp"]
IN_CLOSED_FORM = pl.col("exact_bias").is_not_null() & pl.col("tau").is_not_null()
IS_BIASED = pl.col("unbiased") == "never"


def by_length(table: pl.DataFrame, column: str):
    """For every group and series, the mean over seeds of a column, by length."""
    means = table.group_by([*GROUP, "series", "tau"]).agg(pl.col(column).mean()).sort("tau")
    return {key: part[column].to_list() for key, part in means.group_by([*GROUP, "series"], maintain_order=True)}


def truncation_bias_falls(table: pl.DataFrame):
    curves = by_length(
        needed(table.filter(IN_CLOSED_FORM & IS_BIASED), "a truncation with a τ is needed"), "exact_bias"
    )
    steps = [(b, a) for curve in curves.values() for a, b in pairwise(curve)]
    if not steps:
        raise NotMeasured("two lengths are needed")
    fallen = sum(later < earlier for later, earlier in steps)
    ends = sum(curve[-1] < curve[0] for curve in curves.values())
    measured = f"exact bias² falls in {fallen} of {len(steps)} steps of τ, end to end in {ends} of {len(curves)} curves"
    return Verdict("reproduced" if ends == len(curves) and fallen >= 0.9 * len(steps) else "not reproduced", measured)


def randomized_mean_is_exact(table: pl.DataFrame):
    rows = needed(table.filter(IN_CLOSED_FORM & ~IS_BIASED), "an unbiased estimator with a τ is needed")
    covered = rows.filter(pl.col("bias_low") <= 0).height
    largest = rows["exact_bias"].max()
    measured = (
        f"the 95% interval of bias² holds 0 in {covered} of {rows.height}; largest exact bias² {largest:.1e} ‖g‖²"
    )
    return Verdict("reproduced" if largest < 1e-6 and covered >= 0.85 * rows.height else "not reproduced", measured)


def randomized_variance_grows(table: pl.DataFrame):
    curves = by_length(needed(table.filter(pl.col("series") == "randomized"), "randomized is needed"), "exact_variance")
    fixed = table.filter(pl.col("series").is_in(["segment", "window", "buffered"]))
    biased = needed(fixed, "a fixed truncation is needed")["exact_variance"].max()
    growing = sum(all(b < a for a, b in pairwise(curve)) for curve in curves.values())
    smallest = min(min(curve) for curve in curves.values())
    measured = (
        f"{growing} of {len(curves)} curves fall along all τ; smallest {smallest:.2g} ‖g‖², truncation's {biased:g}"
    )
    return Verdict("reproduced" if growing == len(curves) and smallest > biased else "not reproduced", measured)


def who_wins(table: pl.DataFrame, biased: list[str]):
    """At equal memory: the smallest error of some biased estimators, and of the unbiased, by group and length."""
    best = {
        side: table.filter(pl.col("series").is_in(names))
        .group_by([*GROUP, "tau", "series"])
        .agg(pl.col("exact_mse").mean())
        .group_by([*GROUP, "tau"])
        .agg(pl.col("exact_mse").min().alias(side))
        for side, names in (("biased", biased), ("unbiased", UNBIASED))
    }
    return best["biased"].join(best["unbiased"], on=[*GROUP, "tau"]).sort([*GROUP, "tau"])


def unbiased_is_no_better(table: pl.DataFrame):
    """Segments cost what the unbiased estimators cost; windows and overlapping blocks cost more work, not memory."""
    both = needed(who_wins(table, ["segment"]), "segments and randomized or artbp are needed")
    lost = both.filter(pl.col("biased") > pl.col("unbiased"))
    ratio = (both["unbiased"] / both["biased"].clip(1e-12)).median()
    per_length = lost.group_by("tau").len().sort("tau").iter_rows()
    where = ", ".join(f"{count} at τ={tau}" for tau, count in per_length)
    any_truncation = who_wins(table, ["segment", "window", "buffered"])
    won = any_truncation.filter(pl.col("biased") <= pl.col("unbiased")).height
    measured = (
        f"segments have the smaller error in {both.height - lost.height} of {both.height} settings (median ratio "
        f"{ratio:.3g}), the unbiased in {lost.height} ({where or 'none'}); the best of segment, window and buffered "
        f"has it in {won}"
    )
    return Verdict("reproduced" if lost.height <= 0.1 * both.height else "not reproduced", measured)


def promises_are_kept(table: pl.DataFrame):
    """Estimators without a closed form, by the 95% intervals of their squared bias. Those that perturb have the mean of
    a smoothed loss, which for sigma = 0.01 cannot be told from the loss here."""
    rows = table.filter(~IS_BIASED & ~pl.col("method").is_in(UNBIASED) & (pl.col("variance") > 1e-9))
    rows = needed(rows, "an estimator that says it is unbiased is needed, other than randomized and artbp")
    covered = rows.filter(pl.col("bias_low") <= 0).height
    said = ", ".join(
        f"{name} {bias:.2g} of {variance:.2g}"
        for name, bias, variance in rows.group_by("method", maintain_order=True)
        .agg(pl.col("bias").median(), pl.col("variance").median())
        .iter_rows()
    )
    measured = f"the interval of bias² holds 0 in {covered} of {rows.height}; bias² and variance in the middle: {said}"
    return Verdict("reproduced" if covered >= 0.85 * rows.height else "not reproduced", measured)


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
CLAIMS = (
    Judged("The bias of truncation falls as τ grows.", CHAPTER, truncation_bias_falls),
    Judged(
        "The mean of randomized truncation is the full gradient.",
        "Tallec & Ollivier 2017, Proposition 1",
        randomized_mean_is_exact,
    ),
    Judged(
        "The variance of randomized truncation exceeds that of regular truncation, and grows as keep falls.",
        CHAPTER,
        randomized_variance_grows,
    ),
    Judged(
        "In squared error, randomized and artbp are no better than segments of the same expected length.",
        CHAPTER,
        unbiased_is_no_better,
    ),
    Judged(
        "The other estimators that were measured are unbiased where they say so.",
        "Tallec & Ollivier 2018 and others",
        promises_are_kept,
    ),
)
