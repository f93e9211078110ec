"""The chapter's picture: the first words of The Time Machine, cut by each truncation, from real backward passes.

A unit of credit is sent back from every loss through `tb.scan` of a plain sum; what arrives at every earlier step is
the weight with which the estimator counts that loss there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.plots.truncation_patterns import draw

WORDS = "the time machine by h g wells"  # the chapter's example: a title, not the data


def weights(est, key, length):
    """Entry [t, s]: the weight of loss t's credit at step s; 1 for s ≤ t without truncation."""

    def losses(steps):
        def add(state, x):
            return state + x, state + x

        return tb.scan(add, jnp.zeros(()), steps, truncation=est, key=key)[1]

    return jax.jacrev(losses)(jnp.zeros(length))


def measure(config, key):
    est, length = estimator_of(config), len(WORDS)
    drawn = jax.jit(jax.vmap(lambda key: weights(est, key, length)))(jax.random.split(key, config["samples"]))
    drawn = np.asarray(drawn, np.float64)
    mean, error = drawn.mean(0), drawn.std(0, ddof=1) / len(drawn) ** 0.5
    lower = np.tril(np.ones((length, length), bool))
    often = lower & ((drawn > 0).sum(0) >= 200)  # what is hardly ever seen says nothing of its mean
    away = np.abs(mean - 1)[often]
    z = np.max(
        np.where(error[often] > 0, away / np.where(error[often] > 0, error[often], 1), np.where(away > 1e-6, np.inf, 0))
    )
    reach = (drawn[0] > 0).sum(1) - 1
    row = {
        "weights": drawn[0],
        "mean_reach": float((drawn > 0).sum(2).mean() - 1),
        "pairs": int(lower.sum()),
        "weights_not_0": int((drawn[0] != 0).sum()),
        "weights_of_1": int((drawn[0] == 1).sum()),
    }
    return [row | {"furthest_reach": int(reach.max()), "z": float(min(z, 1e9)), "credits": int(often.sum())}]


def the_rows(table, name):
    rows = table.filter(pl.col("estimator").str.starts_with(name))
    if rows.is_empty():
        raise ValueError(f"{name} was not measured")
    return rows


def full_sees_all(table):
    (row,) = the_rows(table, "full").iter_rows(named=True)
    figure = f"{row['weights_of_1']} of {row['weights_not_0']} weights that are not 0 are 1, of {row['pairs']} pairs"
    return Verdict(
        "reproduced" if row["weights_of_1"] == row["weights_not_0"] == row["pairs"] else "not reproduced", figure
    )


def regular_sees_its_segment(table):
    rows = the_rows(table, "segment")
    reach = dict(zip(rows["tau"], rows["furthest_reach"]))
    good = all(far == tau - 1 for tau, far in reach.items())
    return Verdict("reproduced" if good else "not reproduced", f"furthest lag by τ: {reach}")


def random_is_right_on_average(table):
    rows = pl.concat([the_rows(table, "randomized"), the_rows(table, "artbp")])
    worst, credits = rows["z"].max(), rows["credits"].sum()
    figure = f"mean weight 1 for all of {credits} credits seen often enough: largest |z| {worst:.1f}, limit 5.5"
    return Verdict("reproduced" if worst < 5.5 else "not reproduced", figure)  # false alarm below 1e-4 in all


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
ESTIMATORS = ["full", "segment", "window", "buffered", "randomized", "artbp"]
experiment = Experiment(
    name="truncation_patterns",
    source=CHAPTER,
    summary="the chapter's picture: what full, regular and randomized truncation make of the first words of the text",
    axes={
        "smoke": {"estimator": ESTIMATORS, "tau": 6, "samples": 1024},
        "default": {"estimator": ESTIMATORS, "tau": 6, "samples": 16384},
        "paper": {"estimator": ESTIMATORS, "tau": 6, "samples": 2**18},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("Full backpropagation carries every loss to every earlier step.", CHAPTER, full_sees_all),
        Claim("Regular truncation carries a loss to the start of its segment.", CHAPTER, regular_sees_its_segment),
        Claim(
            "Randomized truncation cuts at random lengths, and is right on average.",
            CHAPTER,
            random_is_right_on_average,
        ),
    ),
)
