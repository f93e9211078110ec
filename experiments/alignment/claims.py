"""What is claimed, and how the table judges it."""

import polars as pl

from tbptt_jax.lab.claims import Judged, Verdict, needed
from tbptt_jax.lab.judging import error_of_difference, judged


def mean_cosines(table: pl.DataFrame, which: pl.Expr, what: str):
    """By cell and estimator, the mean over seeds of the cosine during training, of those that are asked for."""
    rows = needed(table.filter(which), what)
    return rows.group_by(["cell", "series"], maintain_order=True).agg(pl.col("mean").mean())


def said(rows: pl.DataFrame):
    return ", ".join(f"{cell} {name} {value:.2f}" for cell, name, value in rows.iter_rows())


def exact_ones_agree(table: pl.DataFrame):
    rows = mean_cosines(table, pl.col("method") == "rtrl", "rtrl is needed")
    return Verdict("reproduced" if (rows["mean"] > 0.999).all() else "not reproduced", f"mean cosine: {said(rows)}")


def biased_are_better_aligned(table: pl.DataFrame):
    """Of all pairs of a biased and a noisy unbiased estimator, how often the biased one has the larger cosine."""
    is_biased, is_exact = pl.col("unbiased") == "never", pl.col("method").is_in(["full", "rtrl"])
    biased = mean_cosines(table, is_biased, "a biased estimator is needed")
    noisy = mean_cosines(table, ~is_biased & ~is_exact, "a noisy unbiased estimator is needed")
    pairs = biased.join(noisy, on="cell", suffix="_noisy")
    won = pairs.filter(pl.col("mean") > pl.col("mean_noisy")).height
    measured = f"the biased one has the larger cosine in {won} of {pairs.height} pairs; {said(biased)}; {said(noisy)}"
    good, bad = won >= 0.9 * pairs.height, won <= 0.5 * pairs.height
    return Verdict("reproduced" if good else "not reproduced" if bad else "undecided", measured)


def snap_is_better_than_rflo(table: pl.DataFrame):
    snap, rflo = (mean_cosines(table, pl.col("method") == name, f"{name} is needed") for name in ("snap", "rflo"))
    both = snap.join(rflo, on="cell", suffix="_rflo")
    error = error_of_difference(table, ["cell", "series"], "mean")
    pairs = list(both.select("mean_rflo", "mean").iter_rows())
    return judged(pairs, error, f"mean cosines (± {error:.2f}): {said(snap)}; {said(rflo)}")


MARSCHALL = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"
CLAIMS = (
    Judged("RTRL is the exact gradient within a chunk.", "an identity", exact_ones_agree),
    Judged(
        "Biased estimates are better aligned with the gradient than noisy unbiased ones.",
        MARSCHALL,
        biased_are_better_aligned,
    ),
    Judged("SnAp-1 is better aligned than RFLO.", "Menick et al. 2021", snap_is_better_than_rflo),
)
