"""What one cell measures."""

import math
from typing import Any

import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import learning_rows

RATES = {"adam": [1e-2], "sgd": [0.3, 1.0, 3.0]}
GROUP = ["task", "series", "tau"]
FIXED, VARIABLE = "copy(longest=10)", "copy(longest=10, shortest=5)"
SEES_ALL = 11  # lags
SEES_NOTHING = {FIXED: 10, VARIABLE: 5}  # lags at most: no symbol that is asked for


def optimizer_of(name: str, lags: Any):
    """Adam with gradients clipped at 1; or, as in the paper, SGD at rates times √K with gradients clipped at 1/K."""
    if name == "adam":
        return lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    return lambda rate: optax.chain(optax.clip_by_global_norm(1 / lags), optax.sgd(rate * math.sqrt(lags)))


def lags_of(est: Estimator):
    """How many lags a loss sees at most: K of the paper's learning rates."""
    lags = est.longest if isinstance(est, tb.Adaptive) else est.nominal_length
    if lags is None:
        raise tb.UserError(f"estimator: one with a length is needed, for the rates depend on it; got {est}")
    return lags


def measure(config: Config, key: Array):
    est, task = config.estimator, config.task
    task = type(task)(config["length"], config["batch_size"], task.longest, task.shortest)
    model = task.model("lstm", config["hidden"], layers=config["layers"])
    rates = RATES[config["optimizer"]]
    history = tb.train(
        model,
        est,
        task,
        optimizer_of(config["optimizer"], lags_of(est) if config["optimizer"] == "sgd" else None),
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
