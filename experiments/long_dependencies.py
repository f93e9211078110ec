"""Who learns what truncation cannot see: a symbol, or a number, that must be remembered over a distance d.

The loss is at the last step only. A truncation that sees fewer than d + 1 lags gives the weights that store the symbol
no credit for it; but the state is carried forward all the same, and a readout may learn what a network that was drawn
at random happens to remember. `learned` is the part of the blind loss that training removed: 1 is all.
"""

import jax
import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import at_best_rate, error_of_difference, judged, learning_rows
from tbptt_jax.plots.long_dependencies import draw

RATES = [1e-3, 3e-3, 1e-2]
GROUP = ["task", "cell", "estimator", "tau"]
SOLVED = 0.9  # of the blind loss removed


def clipped_adam(rate):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def measure(config, key):
    task = tb.make_task(config["task"])
    if task.streams or not {"best", "blind"} <= task.floors().keys():
        raise ValueError(f'task: one of episodes is needed whose floors are "best" and "blind", got {task}')
    length = jax.eval_shape(task.batch, key).targets.shape[0]
    history = tb.train(
        task.model(config["cell"], config["hidden"]),
        estimator_of(config),
        task,
        clipped_adam,
        steps=config["updates"],
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        checkpoint=tb.lab.checkpoint("training"),
    )
    floors = task.floors()
    rows = learning_rows(history, RATES, sees_all_from=length, **floors)
    for row in rows:
        span = floors["blind"] - floors["best"]
        row |= {"learned": 1 - (row["held_out"] - floors["best"]) / span}
        row |= {"curve_learned": 1 - (row["curve_held_out"] - floors["best"]) / span}
    return rows


def learned(table):
    """The mean over seeds of what was learned, by group, at the best learning rate; and whether τ is long enough."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(GROUP).agg(pl.col("learned").mean(), pl.col("sees_all_from").first())
    return means.with_columns((pl.col("tau") >= pl.col("sees_all_from")).alias("long enough")).sort(GROUP)


def ends(rows):
    return f"{rows['learned'].min():.2f} to {rows['learned'].max():.2f} in {rows.height} settings"


def truncation_sees_tau(table):
    """A window shows it purely: each loss sees exactly τ steps."""
    rows = learned(table).filter(pl.col("estimator").is_in(["window", "segment"]))
    short, long = rows.filter(~pl.col("long enough")), rows.filter(pl.col("long enough"))
    if short.is_empty() or long.is_empty():
        return Verdict("undecided", "lengths on both sides of the distance are needed")
    good = long.filter(pl.col("learned") > SOLVED).height == long.height and short["learned"].max() < SOLVED
    return Verdict(
        "reproduced" if good else "not reproduced",
        f"learned with τ long enough: {ends(long)}; with shorter τ: {ends(short)}",
    )


def state_is_carried(table):
    """What truncation that is too short still learns, from a state that remembers by chance."""
    rows = learned(table).filter(pl.col("estimator").is_in(["window", "segment"]) & ~pl.col("long enough"))
    some = rows.filter(pl.col("learned") > 0.05)
    said = ", ".join(
        f"{task} {cell}: {low:.2f} to {high:.2f}"
        for task, cell, low, high in rows.group_by("task", "cell", maintain_order=True)
        .agg(pl.col("learned").min().alias("low"), pl.col("learned").max().alias("high"))
        .iter_rows()
    )
    figure = f"more than 0.05 is learned in {some.height} of {rows.height} settings with τ too short: {said}"
    return Verdict("reproduced" if some.height >= rows.height / 2 else "not reproduced", figure)


def unbiased_sees_all(table):
    rows = learned(table).filter(pl.col("estimator").is_in(["randomized", "artbp"]) & ~pl.col("long enough"))
    both = rows.join(
        learned(table).filter(pl.col("estimator") == "segment").rename({"learned": "truncated"}),
        on=["task", "cell", "tau"],
    )
    won = both.filter(pl.col("learned") > pl.col("truncated") + 0.05).height
    lost = both.filter(pl.col("learned") < pl.col("truncated") - 0.05).height
    figure = (
        f"with τ too short, randomized and artbp learn more than segments in {won} of {both.height} settings, less in "
        f"{lost}; {ends(rows)}"
    )
    return Verdict("reproduced" if won >= 0.8 * both.height else "not reproduced", figure)


def best_gates_learn_more(table):
    """At equal memory, randomized truncation with equal and with the best keep probabilities."""
    rows = learned(table)
    both = rows.filter(pl.col("estimator") == "optimal").join(
        rows.filter(pl.col("estimator") == "randomized"), on=["task", "cell", "tau"], suffix="_equal"
    )
    if not both.height:
        return Verdict("undecided", "optimal and randomized are needed")
    error = error_of_difference(at_best_rate(table, GROUP), GROUP, "learned")
    said = ", ".join(
        f"{task} {tau}: {best:.2f} against {equal:.2f}"
        for task, tau, best, equal in both.select("task", "tau", "learned", "learned_equal").iter_rows()
    )
    pairs = list(both.select("learned_equal", "learned").iter_rows())
    return judged(pairs, error, f"learned (± {error:.2f}), {said}")


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
AXES = {
    "task": ["recall(distance=40)", "agreement(distance=20)"],
    "cell": ["tanh", "gru"],
    "estimator": ["full()", "segment", "window", "randomized", "artbp", "optimal"],
    "tau": [2, 8, 32],
    "hidden": 32,
}
experiment = Experiment(
    name="long_dependencies",
    source=CHAPTER,
    summary="who learns what truncation cannot see: recall and number agreement over a distance",
    axes={
        "smoke": AXES | {"task": "recall(distance=5)", "cell": "tanh", "tau": [2, 8], "updates": 400, "seeds": 2},
        "default": AXES | {"cell": "tanh", "updates": 2000, "seeds": 4},
        "paper": AXES
        | {
            "task": [f"{name}(distance={d})" for name in ("recall", "agreement") for d in (5, 20, 50, 100)],
            "cell": ["tanh", "gru", "lstm"],
            "tau": [2, 4, 8, 16, 32, 64, 128],
            "updates": 20_000,
            "seeds": 10,
        },
    },
    measure=measure,
    plot=draw,
    version=2,
    claims=(
        Claim("Truncation learns what lies within τ steps, and not what lies beyond.", CHAPTER, truncation_sees_tau),
        Claim(
            "Truncation that is too short learns some all the same: the state is carried.", CHAPTER, state_is_carried
        ),
        Claim("Unbiased truncation learns beyond its mean length.", "Tallec & Ollivier 2017", unbiased_sees_all),
        Claim("The best gates learn more than equal ones.", "this package", best_gates_learn_more),
    ),
)
