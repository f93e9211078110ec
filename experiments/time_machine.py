"""The Time Machine, character by character: what truncation costs in perplexity, and what it saves.

Equal data: every training reads the same number of symbols. In sequential order the state is carried, and segments are
the textbook's truncation: chunks of τ steps with one update each; artbp makes one update a random segment of mean
length τ, the paper's way, but ends a segment at 4 τ, where the credit of longer ones is lost; all others make an update
every 64 steps. In random order, windows of 64 steps are read from anywhere, from an empty state, with an update each:
only the gradient differs. All are evaluated with the state carried over the held-out text.
"""

import math
from dataclasses import replace
from itertools import pairwise

import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import at_best_rate, error_of_difference, in_a_stream, judged, learning_rows
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
        est, task, steps_an_update = in_a_stream(est, task, CHUNK)
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


def losses(table, *group):
    """The mean held-out loss over seeds at the best learning rate, by group, and twice the standard error of the
    difference of two such means, from the spread over seeds in all groups together."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(group).agg(pl.col("held_out").mean()).sort(group)
    return {row[:-1]: row[-1] for row in means.iter_rows()}, error_of_difference(best, GROUP)


def shown(value):
    return f"{math.exp(value):.2f}"


def memory_helps(table):
    found, error = losses(table, "cell", "order", "estimator")
    baseline = min(value for (cell, _, _), value in found.items() if cell == "trigram")
    networks = {key: value for key, value in found.items() if key[0] != "trigram" and key[2] == "full()"}
    said = ", ".join(f"{cell} {order} {shown(value)}" for (cell, order, _), value in networks.items())
    figure = f"perplexity: trigram {shown(baseline)}; full backpropagation {said}"
    return judged([(value, baseline) for value in networks.values()], error, figure)


def longer_is_better(table):
    """In random order, where nothing but the gradient differs."""
    rows = table.filter((pl.col("order") == "random") & pl.col("estimator").is_in(["segment", "window"]))
    found, error = losses(rows, "cell", "estimator", "tau")
    pairs, said = [], []
    for cell, name in sorted({key[:2] for key in found}):
        curve = [value for key, value in sorted(found.items()) if key[:2] == (cell, name)]
        pairs += [(longer, shorter) for shorter, longer in pairwise(curve)]
        said.append(f"{cell} {name} {' → '.join(map(shown, curve))}")
    taus = "/".join(str(tau) for tau in sorted({key[2] for key in found}))
    return judged(pairs, error, f"perplexity by τ = {taus}: {'; '.join(said)}")


def artbp_at_equal_memory(table):
    rows = table.filter((pl.col("order") == "sequential") & pl.col("estimator").is_in(["segment", "artbp"]))
    found, error = losses(rows, "cell", "tau", "estimator")
    pairs = {key[:2]: (found[*key[:2], "artbp"], found[*key[:2], "segment"]) for key in found}
    said = ", ".join(f"{cell} τ={tau}: {shown(a)} and {shown(b)}" for (cell, tau), (a, b) in pairs.items())
    return judged(list(pairs.values()), error, f"perplexity of artbp and of segments: {said}")


def unbiased_is_no_better(table):
    """Each unbiased estimator on its own against segments of the same length; reproduced where it is not better."""
    rows = table.filter((pl.col("order") == "random") & pl.col("tau").is_not_null())
    found, error = losses(rows, "cell", "tau", "estimator")
    pairs = {
        key: (found[*key[:2], "segment"], value) for key, value in found.items() if key[2] in ("randomized", "artbp")
    }
    better = sum(unbiased < segment - error for segment, unbiased in pairs.values())
    worse = sum(unbiased > segment + error for segment, unbiased in pairs.values())
    said = ", ".join(
        f"{cell} τ={tau} {name} {shown(b)} (segment {shown(a)})" for (cell, tau, name), (a, b) in pairs.items()
    )
    figure = f"better than segments in {better}, worse in {worse} of {len(pairs)}: {said}"
    return Verdict("reproduced" if better <= len(pairs) / 10 else "not reproduced", figure)


def order_matters(table):
    """At equal updates; both are evaluated with the state carried over all of the held-out text."""
    found, error = losses(table.filter(pl.col("cell") != "trigram"), "cell", "estimator", "tau", "order")
    pairs = [
        (value, found[*key[:3], "random"])
        for key, value in found.items()
        if key[3] == "sequential" and key[1] in ("full()", "window", "randomized")
    ]
    ratio = math.exp(sum(a - b for a, b in pairs) / len(pairs))
    return judged(pairs, error, f"mean ratio of the perplexities, sequential over random, {ratio:.3f}")


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
PAPER = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"
ESTIMATORS = ["full()", "segment", "window", "randomized", "artbp"]
AXES = {
    "task": "time_machine",
    "cell": ["tanh", "gru", "lstm", "trigram"],
    "order": ["sequential", "random"],
    "estimator": ESTIMATORS,
    "hidden": 32,
}
experiment = Experiment(
    name="time_machine",
    source=CHAPTER,
    summary="perplexity on The Time Machine: full, segments, windows and random truncation at equal data",
    axes={
        "smoke": AXES | {"cell": ["tanh", "trigram"], "tau": [4, 16], "batch": 32, "symbols": 200_000, "seeds": 2},
        "default": AXES | {"tau": [4, 16], "batch": 32, "symbols": 2_000_000, "seeds": 2},
        "paper": AXES | {"tau": [2, 4, 8, 16, 32], "batch": 1024, "symbols": 32_000_000, "seeds": 5},
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
