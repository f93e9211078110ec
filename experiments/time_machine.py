"""The Time Machine, character by character: what truncation costs in perplexity, and what it saves.

Equal data: every training reads the same number of symbols. In sequential order the state is carried, and segments are
the textbook's truncation: chunks of τ steps with one update each; artbp makes one update a random segment of mean
length τ, the paper's way and the same memory on average. All others make an update every 64 steps. In random order,
windows of 64 steps are read from anywhere, from an empty state, with an update each: only the gradient differs.
"""

import math
from dataclasses import replace
from itertools import pairwise

import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import at_best_rate, in_a_stream, learning_rows
from tbptt_jax.plots.time_machine import draw

CHUNK = 64
RATES = [0.5, 2.0, 4.0]
GROUP = ["cell", "order", "estimator", "tau"]


def clipped_sgd(rate):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate))


def measure(config, key):
    if config["cell"] == "trigram" and config["estimator"] != "full()":
        return []  # every estimator of its gradient is the exact one
    est, steps_an_update = estimator_of(config), CHUNK
    task = replace(tb.make_task(config["task"]), length=CHUNK, batch_size=config["batch"], order=config["order"])
    if task.streams:
        est, task, steps_an_update = in_a_stream(est, task, config.get("tau"), CHUNK)
    model = tb.trigram(task.inputs) if config["cell"] == "trigram" else task.model(config["cell"], config["hidden"])
    history = tb.train(
        model,
        est,
        task,
        clipped_sgd,
        steps=round(config["symbols"] / (config["batch"] * steps_an_update)),
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        checkpoint=tb.lab.checkpoint("training"),
    )
    return learning_rows(history, RATES, uniform=task.floors()["uniform"])


def perplexities(table, *group):
    """The mean held-out perplexity over seeds at the best learning rate, by group."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(group).agg(pl.col("held_out").mean().exp().alias("perplexity")).sort(group)
    return {row[:-1]: row[-1] for row in means.iter_rows()}


def memory_helps(table):
    found = perplexities(table, "cell", "order", "estimator")
    baseline = min(value for (cell, _, _), value in found.items() if cell == "trigram")
    networks = {key: value for key, value in found.items() if key[0] != "trigram" and key[2] == "full()"}
    said = ", ".join(f"{cell} {order} {value:.2f}" for (cell, order, _), value in networks.items())
    better = all(value < baseline for value in networks.values())
    return Verdict(
        "reproduced" if better else "not reproduced", f"perplexity: trigram {baseline:.2f}; full backpropagation {said}"
    )


def longer_is_better(table):
    """In random order, where nothing but the gradient differs."""
    rows = table.filter((pl.col("order") == "random") & pl.col("estimator").is_in(["segment", "window"]))
    found = perplexities(rows, "cell", "estimator", "tau")
    steps, better, said = 0, 0, []
    for cell, name in sorted({key[:2] for key in found}):
        curve = [value for key, value in sorted(found.items()) if key[:2] == (cell, name)]
        steps += len(curve) - 1
        better += sum(b < a for a, b in pairwise(curve))
        said.append(f"{cell} {name} {' → '.join(f'{value:.2f}' for value in curve)}")
    if not steps:
        return Verdict("undecided", "one length only")
    taus = "/".join(str(tau) for tau in sorted({key[2] for key in found}))
    figure = f"perplexity falls in {better} of {steps} steps of τ = {taus}: {'; '.join(said)}"
    return Verdict("reproduced" if better >= 0.9 * steps else "not reproduced", figure)


def artbp_at_equal_memory(table):
    rows = table.filter((pl.col("order") == "sequential") & pl.col("estimator").is_in(["segment", "artbp"]))
    found = perplexities(rows, "cell", "tau", "estimator")
    pairs = {key[:2]: (found[*key[:2], "segment"], found[*key[:2], "artbp"]) for key in found}
    won = sum(artbp < segment for segment, artbp in pairs.values())
    said = ", ".join(f"{cell} τ={tau}: {a:.2f} and {b:.2f}" for (cell, tau), (a, b) in pairs.items())
    figure = f"artbp is better in {won} of {len(pairs)}; perplexity of segments and of artbp: {said}"
    return Verdict("reproduced" if won == len(pairs) else "not reproduced", figure)


def unbiased_is_no_better(table):
    rows = table.filter((pl.col("order") == "random") & pl.col("tau").is_not_null())
    found = perplexities(rows, "cell", "tau", "estimator")
    settings = {key[:2] for key in found}
    best = {
        side: {s: min(found[*s, n] for n in names) for s in settings}
        for side, names in (("biased", ["segment"]), ("unbiased", ["randomized", "artbp"]))
    }
    lost = sum(best["biased"][s] < best["unbiased"][s] for s in settings)
    ratio = math.exp(sum(math.log(best["unbiased"][s] / best["biased"][s]) for s in settings) / len(settings))
    figure = (
        f"segments have the smaller perplexity in {lost} of {len(settings)} settings of cell and τ in random order; "
        f"the better of randomized and artbp is {ratio:.3f} of it on average"
    )
    return Verdict("reproduced" if lost >= 0.8 * len(settings) else "not reproduced", figure)


def order_matters(table):
    found = perplexities(table.filter(pl.col("cell") != "trigram"), "cell", "estimator", "tau", "order")
    pairs = [
        (value, found[*key[:3], "random"])
        for key, value in found.items()
        if key[3] == "sequential" and key[1] in ("full()", "window", "randomized")
    ]
    won = sum(a < b for a, b in pairs)
    ratio = math.exp(sum(math.log(a / b) for a, b in pairs) / len(pairs))
    figure = (
        f"sequential order is better in {won} of {len(pairs)} settings of equal updates; mean ratio of perplexity "
        f"{ratio:.3f}"
    )
    return Verdict("reproduced" if won >= 0.8 * len(pairs) else "not reproduced", figure)


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
PAPER = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"
ESTIMATORS = ["full()", "segment", "window", "randomized", "artbp"]
experiment = Experiment(
    name="time_machine",
    source=CHAPTER,
    summary="perplexity on The Time Machine: full, segments, windows and random truncation at equal data",
    axes={
        "smoke": {
            "task": "time_machine",
            "cell": ["tanh", "trigram"],
            "order": ["sequential", "random"],
            "estimator": ESTIMATORS,
            "tau": [4, 16],
            "hidden": 32,
            "batch": 32,
            "symbols": 200_000,
            "seeds": 2,
        },
        "default": {
            "task": "time_machine",
            "cell": ["tanh", "gru", "lstm", "trigram"],
            "order": ["sequential", "random"],
            "estimator": ESTIMATORS,
            "tau": [4, 16],
            "hidden": 32,
            "batch": 32,
            "symbols": 2_000_000,
            "seeds": 2,
        },
        "paper": {
            "task": "time_machine",
            "cell": ["tanh", "gru", "lstm", "trigram"],
            "order": ["sequential", "random"],
            "estimator": ESTIMATORS,
            "tau": [2, 4, 8, 16, 32],
            "hidden": 32,
            "batch": 1024,
            "symbols": 32_000_000,
            "seeds": 5,
        },
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("A recurrent network has a smaller perplexity than a trigram model.", CHAPTER, memory_helps),
        Claim("The longer the truncation, the smaller the perplexity.", CHAPTER, longer_is_better),
        Claim("ARTBP has a smaller perplexity than truncation at equal memory.", PAPER, artbp_at_equal_memory),
        Claim("Unbiased truncation works no better in practice.", CHAPTER, unbiased_is_no_better),
        Claim("Sequential partition, the state carried, is better than random windows.", CHAPTER, order_matters),
    ),
)
