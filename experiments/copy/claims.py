"""What is claimed, and how the table judges it."""

import polars as pl

import tbptt_jax as tb
from tbptt_jax.experiments.copy.measure import FIXED, GROUP, SEES_ALL, SEES_NOTHING, VARIABLE
from tbptt_jax.lab.claims import Judged, Verdict, needed
from tbptt_jax.lab.judging import at_best_rate, error_of_difference


def perplexities(table: pl.DataFrame):
    """The mean over seeds at the best learning rate, and their spread, of each task, estimator and length."""
    best = at_best_rate(table, GROUP).group_by([*GROUP, "method"])
    rows = best.agg(pl.col("perplexity", "blind").mean(), pl.col("perplexity").std().fill_null(0).alias("spread"))
    return rows.sort("task", "tau", "series", nulls_last=True)


def said(rows: pl.DataFrame):
    return ", ".join(
        f"{f'τ = {tau}' if tau else name} {value:.3f} ± {spread:.3f}"
        for name, tau, value, spread in rows.select("series", "tau", "perplexity", "spread").iter_rows()
    )


def by_task(table: pl.DataFrame):
    rows = perplexities(table)
    for task in (FIXED, VARIABLE):
        part = rows.filter(pl.col("task") == str(tb.make_task(task)))
        windows = needed(part.filter(pl.col("series") == "window"), f"windows are needed on {task}")
        adaptive = part.filter(pl.col("method") == "adaptive")
        yield task, windows, needed(adaptive, f"adaptive ones are needed on {task}")


def short_windows_fail(table: pl.DataFrame):
    found, measured = [], []
    for task, windows, _ in by_task(table):
        short, long = windows.filter(pl.col("tau") <= SEES_NOTHING[task]), windows.filter(pl.col("tau") >= SEES_ALL)
        needed(short, f"windows of {SEES_NOTHING[task]} lags at most are needed on {task}")
        needed(long, f"windows of {SEES_ALL} lags at least are needed on {task}")
        found.append(short["perplexity"].min() > 1.5 * long["perplexity"].min())
        measured.append(f"{task}: {said(windows)}")
    return Verdict("reproduced" if all(found) else "not reproduced", "; ".join(measured))


def adaptive_is_at_least_as_good(table: pl.DataFrame):
    """Each against the best fixed window: reproduced where none is worse beyond twice the standard error of all those
    that see far enough, undecided where that is above a twentieth."""
    compared = pl.col("method").is_in(["window", "adaptive"])
    seeing = table.filter(compared & (pl.col("tau").is_null() | (pl.col("tau") >= SEES_ALL)))
    error = error_of_difference(at_best_rate(seeing, GROUP), GROUP, "perplexity")
    worse, sharp, measured = 0, True, []
    for task, windows, adaptive in by_task(table):
        best = windows["perplexity"].min()
        sharp &= error <= best / 20
        worse += adaptive.filter(pl.col("perplexity") > best + error).height
        measured.append(f"{task}: {said(adaptive)}; the best window {best:.3f}")
    outcome = "not reproduced" if worse else "reproduced" if sharp else "undecided"
    return Verdict(outcome, f"{'; '.join(measured)} (± {error:.3f})")


AICHER = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time, table 1"
CLAIMS = (
    Judged("Windows that are too short for the distance do not learn to copy.", AICHER, short_windows_fail),
    Judged("Adaptive windows are as good as the best fixed one.", AICHER, adaptive_is_at_least_as_good),
)
