"""Aicher's table: the test perplexity of copying by windows of fixed lengths, and by adaptive ones.

Endless streams of a marker, ℓ − 1 symbols out of 4 and ℓ blanks in which they must be repeated, ℓ = 10 or drawn from
5..10: what is asked for was shown ℓ steps before, so that a window needs ℓ + 1 lags to see it. At equal updates and
data: one update a chunk, the state carried.
"""

import math

import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import at_best_rate, error_of_difference, learning_rows
from tbptt_jax.plots.copy import draw

RATES = {"adam": [1e-2], "sgd": [0.3, 1.0, 3.0]}
GROUP = ["task", "estimator", "tau"]
FIXED, VARIABLE = "copy(longest=10)", "copy(longest=10, shortest=5)"
SEES_ALL = 11  # lags
SEES_NOTHING = {FIXED: 10, VARIABLE: 5}  # lags at most: no symbol that is asked for


def optimizer_of(name, lags):
    """Adam with gradients clipped at 1; or, as in the paper, SGD at rates times √K with gradients clipped at 1/K."""
    if name == "adam":
        return lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    return lambda rate: optax.chain(optax.clip_by_global_norm(1 / lags), optax.sgd(rate * math.sqrt(lags)))


def measure(config, key):
    est, task = estimator_of(config), tb.make_task(config["task"])
    task = type(task)(config["length"], config["batch_size"], task.longest, task.shortest)
    model = task.model("lstm", config["hidden"], layers=config["layers"])
    rates = RATES[config["optimizer"]]
    history = tb.train(
        model,
        est,
        task,
        optimizer_of(config["optimizer"], config.get("tau") or est.longest),
        steps=config["updates"],
        key=key,
        evaluations=20,
        seeds=config["seeds"],
        learning_rates=rates,
        checkpoint=tb.lab.checkpoint("training"),
    )
    rows = learning_rows(history, rates, blind=math.exp(task.floors()["blind"]))
    for row in rows:
        row |= {"perplexity": math.exp(min(row["held_out"], 50)), "best_perplexity": math.exp(row["best_held_out"])}
    return rows


def perplexities(table):
    """The mean over seeds at the best learning rate, and their spread, of each task, estimator and length."""
    best = at_best_rate(table, GROUP).group_by(GROUP)
    rows = best.agg(pl.col("perplexity", "blind").mean(), pl.col("perplexity").std().fill_null(0).alias("spread"))
    return rows.sort("task", "tau", "estimator", nulls_last=True)


def said(rows):
    return ", ".join(
        f"{f'τ = {tau}' if tau else name} {value:.3f} ± {spread:.3f}"
        for name, tau, value, spread in rows.select("estimator", "tau", "perplexity", "spread").iter_rows()
    )


def by_task(table):
    rows = perplexities(table)
    for task in (FIXED, VARIABLE):
        part = rows.filter(pl.col("task") == str(tb.make_task(task)))
        windows, adaptive = part.filter(pl.col("tau").is_not_null()), part.filter(pl.col("tau").is_null())
        if windows.is_empty() or adaptive.is_empty():
            raise ValueError(f"windows and adaptive ones are needed on {task}")
        yield task, windows, adaptive


def short_windows_fail(table):
    found, figure = [], []
    for task, windows, _ in by_task(table):
        short, long = windows.filter(pl.col("tau") <= SEES_NOTHING[task]), windows.filter(pl.col("tau") >= SEES_ALL)
        found.append(short["perplexity"].min() > 1.5 * long["perplexity"].min())
        figure.append(f"{task}: {said(windows)}")
    return Verdict("reproduced" if all(found) else "not reproduced", "; ".join(figure))


def adaptive_is_at_least_as_good(table):
    """Each against the best fixed window: reproduced where none is worse beyond twice the standard error of all those
    that see far enough, undecided where that is above a twentieth."""
    seeing = table.filter(pl.col("tau").is_null() | (pl.col("tau") >= SEES_ALL))
    error = error_of_difference(at_best_rate(seeing, GROUP), GROUP, "perplexity")
    worse, sharp, figure = 0, True, []
    for task, windows, adaptive in by_task(table):
        best = windows["perplexity"].min()
        sharp &= error <= best / 20
        worse += adaptive.filter(pl.col("perplexity") > best + error).height
        figure.append(f"{task}: {said(adaptive)}; the best window {best:.3f}")
    outcome = "not reproduced" if worse else "reproduced" if sharp else "undecided"
    return Verdict(outcome, f"{'; '.join(figure)} (± {error:.3f})")


AICHER = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time, table 1"
AXES = {
    "task": [FIXED, VARIABLE],
    "estimator": ["window", *(f"adaptive(delta={delta}, longest=30, shortest=5)" for delta in (0.9, 0.5, 0.1))],
    "tau": [5, 10, 15, 20, 30],
    "length": 40,
}
experiment = Experiment(
    name="copy",
    source=AICHER,
    summary="Aicher's table: perplexity of copying by fixed and by adaptive windows",
    axes={
        "smoke": AXES
        | {"estimator": ["window", "adaptive(delta=0.5, longest=15, shortest=5)"], "tau": [5, 15]}
        | {"optimizer": "adam", "hidden": 16, "layers": 1, "batch_size": 8, "updates": 300, "seeds": 1},
        "default": AXES
        | {"optimizer": "adam", "hidden": 32, "layers": 1, "batch_size": 16, "updates": 4000, "seeds": 2},
        "paper": AXES
        | {
            "length": 200,
            "optimizer": "sgd",
            "hidden": 50,
            "layers": 2,
            "batch_size": 64,
            "updates": 40_000,
            "seeds": 5,
        },
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("Windows that are too short for the distance do not learn to copy.", AICHER, short_windows_fail),
        Claim("Adaptive windows are as good as the best fixed one.", AICHER, adaptive_is_at_least_as_good),
    ),
)
