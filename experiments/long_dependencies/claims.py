"""What is claimed, and how the table judges it."""

import polars as pl

from tbptt_jax.experiments.long_dependencies.measure import GROUP, SOLVED
from tbptt_jax.lab.claims import Judged, Verdict, needed
from tbptt_jax.lab.judging import at_best_rate, error_of_difference, judged


def learned(table: pl.DataFrame):
    """The mean over seeds of what was learned, by group, at the best learning rate; and whether τ is long enough."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(GROUP).agg(pl.col("learned").mean(), pl.col("sees_all_from", "method", "unbiased").first())
    return means.with_columns((pl.col("tau") >= pl.col("sees_all_from")).alias("long enough")).sort(GROUP)


def ends(rows: pl.DataFrame):
    return f"{rows['learned'].min():.2f} to {rows['learned'].max():.2f} in {rows.height} settings"


def truncation_sees_tau(table: pl.DataFrame):
    """A window shows it purely: each loss sees exactly τ steps."""
    rows = learned(table).filter(pl.col("series").is_in(["window", "segment"]))
    short, long = rows.filter(~pl.col("long enough")), rows.filter(pl.col("long enough"))
    for part in (short, long):
        needed(part, "windows or segments of lengths on both sides of the distance are needed")
    good = long.filter(pl.col("learned") > SOLVED).height == long.height and short["learned"].max() < SOLVED
    return Verdict(
        "reproduced" if good else "not reproduced",
        f"learned with τ long enough: {ends(long)}; with shorter τ: {ends(short)}",
    )


def state_is_carried(table: pl.DataFrame):
    """What truncation that is too short still learns, from a state that remembers by chance."""
    rows = learned(table).filter(pl.col("series").is_in(["window", "segment"]) & ~pl.col("long enough"))
    needed(rows, "windows or segments that are too short are needed")
    some = rows.filter(pl.col("learned") > 0.05)
    said = ", ".join(
        f"{task} {cell}: {low:.2f} to {high:.2f}"
        for task, cell, low, high in rows.group_by("task", "cell", maintain_order=True)
        .agg(pl.col("learned").min().alias("low"), pl.col("learned").max().alias("high"))
        .iter_rows()
    )
    measured = f"more than 0.05 is learned in {some.height} of {rows.height} settings with τ too short: {said}"
    return Verdict("reproduced" if some.height >= rows.height / 2 else "not reproduced", measured)


def unbiased_sees_all(table: pl.DataFrame):
    rows = learned(table).filter((pl.col("unbiased") != "never") & ~pl.col("long enough"))
    rows = rows.filter(pl.col("method") != "optimal")  # it has a claim of its own
    both = rows.join(
        learned(table).filter(pl.col("series") == "segment").rename({"learned": "truncated"}),
        on=["task", "cell", "tau"],
    )
    needed(both, "an unbiased truncation and segments are needed, of lengths that are too short")
    names = " and ".join(both["series"].unique(maintain_order=True))
    won = both.filter(pl.col("learned") > pl.col("truncated") + 0.05).height
    lost = both.filter(pl.col("learned") < pl.col("truncated") - 0.05).height
    measured = (
        f"with τ too short, {names} learn more than segments in {won} of {both.height} settings, less in "
        f"{lost}; {ends(rows)}"
    )
    return Verdict("reproduced" if won >= 0.8 * both.height else "not reproduced", measured)


def best_gates_learn_more(table: pl.DataFrame):
    """At equal memory, randomized truncation with equal and with the best keep probabilities."""
    rows = learned(table)
    both = rows.filter(pl.col("series") == "optimal").join(
        rows.filter(pl.col("series") == "randomized"), on=["task", "cell", "tau"], suffix="_equal"
    )
    needed(both, "optimal and randomized are needed")
    error = error_of_difference(at_best_rate(table, GROUP), GROUP, "learned")
    said = ", ".join(
        f"{task} {tau}: {best:.2f} against {equal:.2f}"
        for task, tau, best, equal in both.select("task", "tau", "learned", "learned_equal").iter_rows()
    )
    pairs = list(both.select("learned_equal", "learned").iter_rows())
    return judged(pairs, error, f"learned (± {error:.2f}), {said}")


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
CLAIMS = (
    Judged("Truncation learns what lies within τ steps, and not what lies beyond.", CHAPTER, truncation_sees_tau),
    Judged("Truncation that is too short learns some all the same: the state is carried.", CHAPTER, state_is_carried),
    Judged("Unbiased truncation learns beyond its mean length.", "Tallec & Ollivier 2017", unbiased_sees_all),
    Judged("The best gates learn more than equal ones.", "this package", best_gates_learn_more),
)
