"""What one cell measures."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, PyTree

import tbptt_jax as tb
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator, warmed_up
from tbptt_jax.estimators.laws import Fixed
from tbptt_jax.experiments.break_even.measure import BATCH, Measured, first_steps, moments_of, pairs, trained
from tbptt_jax.lab.config import Config
from tbptt_jax.models import Model, Params
from tbptt_jax.tasks.base import Task

HALVINGS, MOST_TIMES = 30, 100
Stretch = Callable[[Estimator, int], float]


def can_be_kept(config: Config) -> bool:
    """No sequence keeps more states than it has steps."""
    task: Any = config.task
    return config.tau is None or config.tau < task.length


def measure(config: Config, key: Array):
    if not all(one.by_length for one in config.chosen):
        named = ", ".join(one.given for one in config.chosen if not one.by_length)
        raise UserError(f"estimator: its length follows from the states; name it alone, without arguments, got {named}")
    task: Any = config.task
    network = config["cell"], config["hidden"]
    params = trained(task, *network, config["training"], config.seed)
    model = task.model(*network)
    population = first_steps(task, config["population"], jax.random.fold_in(key, 1))
    gates = partial(
        *(learned_gates, model, params, task, config["tau"], config["chunks"], jax.random.fold_in(key, 2)),
        tb.exact.longest_stretch,
    )
    moments, sides = {}, []
    for one in config.chosen:
        for where, est in at_memory(one.estimator, config["tau"], task.length, gates).items():
            side = Measured(one, est, one.series + where)
            moments[side.name] = jax.device_get(moments_of(est, model, params, population))
            sides.append(side)
    stretches = {side.one.series: tb.exact.longest_stretch(side.est, task.length) for side in sides}
    return [row | {"length": task.length, "states": stretches[row["series"]]} for row in pairs(sides, moments)]


def at_memory(
    est: Estimator, states: int, length: int, gates: Callable, stretch: Stretch = tb.exact.longest_stretch
) -> dict[str, Estimator]:
    """The estimator as long as lets it keep so many states, on average; segments laid in both ways."""
    if est.unbiased == "never" and est.laid_at_random() != est:
        return {"": est.laid_at_random(), " from the first step": est}
    if est.learns_gates:
        return {"": gates(est)}
    law = est.law(length)
    if law is None:
        raise UserError(f"estimator: one whose exact variance is known is needed, got {est}")
    if isinstance(law, Fixed):
        return {"": est}
    return {"": of_stretch(type(est).of_length, states, length, stretch)}


def of_stretch(of_length: Any, states: int, length: int, stretch: Stretch = tb.exact.longest_stretch) -> Estimator:
    """The estimator whose stretch has so many states on average, of those that `of_length` makes of a real number above
    1: with it, stretches grow."""
    low, high = 1.0, float(length)
    while stretch(of_length(high), length) < states and high < MOST_TIMES * length:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        if stretch(of_length(middle), length) < states:
            low = middle
        else:
            high = middle
    found = of_length(high)
    if abs(stretch(found, length) - states) > 0.5:
        raise UserError(f"tau: {states} states cannot be kept of {length} steps by any {found.name}")
    return found


def learned_gates(
    model: Model,
    params: Params,
    task: Task,
    states: int,
    chunks: int,
    key: Array,
    stretch: Stretch,
    est: Any,
) -> Estimator:
    """The gates that an estimator learns on so many batches, which no other part sees, and that are open as often as
    lets them keep so many states."""
    equal = of_stretch(tb.Randomized.of_length, states, task.length, stretch)
    carry = learned(replace(est, keep=equal.keep), model, params, task, chunks, key)

    def of_length(tau: float) -> Estimator:
        return replace(est, keep=1 - 1 / tau).frozen(carry, task.length)

    return of_stretch(of_length, states, task.length, stretch)


@partial(jax.jit, static_argnames=("model", "task", "chunks"))
def learned(est: Estimator, model: Model, params: Params, task: Task, chunks: int, key: Array) -> PyTree:
    """What an estimator carries that has seen so many batches."""
    draw = partial(first_steps, task, BATCH)
    return warmed_up(est, model, params, draw, key, chunks)
