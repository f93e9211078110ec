"""What is checked: the chapter's picture holds by construction."""

import polars as pl

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.claims import Check, needed


def the_rows(table: pl.DataFrame, name: str):
    return needed(table.filter(pl.col("method") == name), f"{name} is needed")


def full_sees_all(table: pl.DataFrame):
    (row,) = the_rows(table, "full").iter_rows(named=True)
    measured = f"{row['weights_of_1']} of {row['weights_not_0']} weights that are not 0 are 1, of {row['pairs']} pairs"
    return row["weights_of_1"] == row["weights_not_0"] == row["pairs"], measured


def regular_sees_its_segment(table: pl.DataFrame):
    rows = needed(table.filter(pl.col("series") == "segment"), "segments with a τ are needed")
    reach = dict(zip(rows["tau"], rows["furthest_reach"]))
    return all(far == tau - 1 for tau, far in reach.items()), f"furthest lag by τ: {reach}"


def random_is_right_on_average(table: pl.DataFrame):
    random = (pl.col("unbiased") != "never") & (pl.col("method") != "full")
    rows = needed(table.filter(random), "an unbiased truncation is needed")
    worst, credits = rows["z"].max(), rows["credits"].sum()
    measured = f"mean weight 1 for all of {credits} credits seen often enough: largest |z| {worst:.1f}, limit 5.5"
    return worst < 5.5, measured  # false alarm below 1e-4 in all


CHECKS = (
    Check("Full backpropagation carries every loss to every earlier step.", CHAPTER, full_sees_all),
    Check("Regular truncation carries a loss to the start of its segment.", CHAPTER, regular_sees_its_segment),
    Check("Randomized truncation cuts at random, and is right on average.", CHAPTER, random_is_right_on_average),
)
