"""What one cell measures."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import optax
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.errors import UserError, choose
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import in_a_stream
from tbptt_jax.lab.masked import Dropout
from tbptt_jax.lab.protocol import chosen_and_reported, losses_apart
from tbptt_jax.ngrams import NGrams
from tbptt_jax.tasks.text import Text

CHUNK = 64
RATES = [4e-3, 1e-2]  # 1e-3 was worse in all of the cells that were tried with it
DROPOUT, DECAY = 0.2, 0.01
AT_CUTS = {"at cuts": True, "every chunk": False}
ORDERS = range(1, 7)  # of the n-grams


def makes_sense(config: Config) -> bool:
    """Whether a cell makes sense: updates at cuts are for what has a pace of its own (segments, artbp, rolling), in a
    stream; artbp and rolling are measured only so; in random order the exact gradient stands alone."""
    if choose("updates", config["updates"], AT_CUTS):
        return config["order"] == "sequential" and has_a_pace(config.estimator)
    if config["order"] == "random":
        return config.estimator == tb.Full()
    return not has_a_pace(config.estimator.laid_at_random())


def has_a_pace(est: Estimator) -> bool:
    """Whether an estimator makes its updates where it will, whatever is asked."""
    return est.updates_at_cuts or est.pace(10 * CHUNK).steps_an_update != 10 * CHUNK


def measure(config: Config, key: Array) -> list[dict[str, Any]]:
    return read_at(RATES, config, key)


def read_at(rates: Sequence[float], config: Config, key: Array) -> list[dict[str, Any]]:
    """A row for each of the rates and each network."""
    if not isinstance(config.task, Text):
        raise UserError(f"task: a text is needed, got {config.task}")
    text = replace(config.task, length=CHUNK, batch_size=config["batch"], order=config["order"])
    est, steps_an_update = config.estimator, float(CHUNK)
    if AT_CUTS[config["updates"]]:
        text, steps_an_update = in_a_stream(est, text, CHUNK)
    else:
        est = est.laid_at_random()
    task = Dropout(text, 1 - DROPOUT, config["hidden"])
    model = task.model(config["cell"])
    updates = round(config["symbols"] / (config["batch"] * steps_an_update))

    def optimizer(rate: Any) -> optax.GradientTransformation:
        falling = optax.cosine_decay_schedule(rate, updates)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(falling, weight_decay=DECAY))

    history = tb.train(
        model,
        est,
        task,
        optimizer,
        steps=updates,
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=rates,
        watch=losses_apart(model, task),
        checkpoint=tb.lab.checkpoint("training"),
    )
    more = counted_losses(config.task) | {"side_by_side": len(rates) * config["seeds"]}
    return [row | more for row in chosen_and_reported(history, rates)]


@cache
def counted_losses(task: Text) -> dict[str, float]:
    """The losses on the report set of n-grams, and of the one that the selection set chooses."""
    train, held_out = task.parts()
    rows = held_out[: 32 * (len(held_out) // 32)].reshape(32, -1)
    return losses_of_ngrams(train, task.inputs, rows[:16], rows[16:])


def losses_of_ngrams(train: np.ndarray, classes: int, selection: np.ndarray, report: np.ndarray) -> dict[str, float]:
    """The same of any rows of text `[N, T]`, of each of which all symbols but the first are predicted."""
    models = {order: NGrams(train, classes, order) for order in ORDERS}
    best = min(ORDERS, key=lambda order: models[order].loss(selection))
    losses = {f"ngram_{order}": model.loss(report) for order, model in models.items()}
    return losses | {"best_ngram": losses[f"ngram_{best}"], "best_order": best}
