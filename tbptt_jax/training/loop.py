"""The training loop: seeds and learning rates side by side, legs of updates between evaluations, checkpoints.

A leg is one compiled program: all its updates, of all runs. The runs are spread over the local devices, and those on
one device are vectorised together. Between legs the host keeps the history, writes the checkpoint and reports.

What is not finite stays so, in parameters and in the sum of losses, so it is enough to look at the end of a leg. A leg
in which a run diverged is made again by a program that looks at every update and freezes that run where it diverged:
to do so always would take as long as a small network's update.
"""

import hashlib
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.devices import over_devices
from tbptt_jax.errors import UserError, require_count
from tbptt_jax.estimators.base import Estimator, require_estimator
from tbptt_jax.forward import loss
from tbptt_jax.jax_internals import program
from tbptt_jax.leaves import require_random_key
from tbptt_jax.models import Model, sequence_shape
from tbptt_jax.noise import Drawing
from tbptt_jax.tasks.base import Task
from tbptt_jax.training import checkpoint as checkpoints
from tbptt_jax.training.noisy import Noisy
from tbptt_jax.training.several import after_several
from tbptt_jax.training.update import Run, all_finite, begin, frozen_where_not_finite, update

REPORT_EVERY = 20.0  # seconds

Optimizer = optax.GradientTransformation | Callable[[Any], optax.GradientTransformation]


class History(NamedTuple):
    """What became of a training, at each of E evaluations. Leading axes are `[learning rates, seeds]`, if asked for.

    A run that diverged is frozen as it was before the update `diverged_at` (−1: it did not), and so are its losses; a
    loss too large for its floating point is the largest number.
    """

    step: np.ndarray
    """Estimates made, `[E]`."""
    seen: np.ndarray
    """Steps of data read, over all sequences of the batch, `[..., E]`."""
    loss: np.ndarray
    """Mean training loss since the evaluation before, `[..., E]`."""
    held_out: np.ndarray
    """Loss on the task's held-out sequences, `[..., E]`."""
    watched: PyTree
    """What `watch(params)` gave, `[..., E, ...]`."""
    seconds: np.ndarray
    """Time spent on updates by all runs together, without compilation and evaluation, `[E]`."""
    diverged_at: np.ndarray
    """`[...]`."""
    params: PyTree
    """After the last update, `[..., ...]`."""


def train(
    model: Model,
    est: Estimator,
    task: Task,
    optimizer: Optimizer,
    *,
    steps: int,
    key: Array,
    evaluations: int = 20,
    seeds: int | None = None,
    learning_rates: Sequence[float] | None = None,
    watch: Callable[[PyTree], PyTree] | None = None,
    checkpoint: str | Path | None = None,
    at_once: int | None = None,
    update_every: int = 1,
) -> History:
    """Train a model by an estimator on a task, all seeds and learning rates side by side.

    Args:
        model: The model.
        est: The estimator.
        task: Where batches come from.
        optimizer: Any optax optimizer, or a function from a learning rate to one, such as `optax.adam`, where
            `learning_rates` are given.
        steps: How many estimates are made, each on the task's next batch.
        key: For all that is drawn.
        evaluations: How often the losses are recorded on the way.
        seeds: How many runs there are that differ by what is drawn; None: one, without an axis.
        learning_rates: The rates, for each of which there are these runs; None: as `optimizer` says, without an axis.
        watch: A function of the parameters whose value is recorded at every evaluation.
        checkpoint: A file to which the state is written at every evaluation; a training that finds it goes on from
            there, to end as if it had never been stopped.
        at_once: How many runs are vectorised together on a device, where memory is short; None: all.
        update_every: After how many estimates the parameters change, by their mean.

    Returns:
        What became of it, leading axes `[learning rates, seeds]`.
    """
    require_estimator(est)
    if not isinstance(model, Model) or not isinstance(task, Task):
        raise UserError(
            f"model, est, task: a Model, an estimator and a Task are needed, got {model!r:.80}, {task!r:.80}"
        )
    require_random_key(key)
    steps, evaluations = require_count("steps", steps), require_count("evaluations", evaluations)
    update_every = require_count("update_every", update_every)
    seeds = None if seeds is None else require_count("seeds", seeds)
    at_once = None if at_once is None else require_count("at_once", at_once)
    if watch is not None and not callable(watch):
        raise UserError(f"watch: a function of the parameters is needed, or None, got {watch!r:.80}")
    if not callable(optimizer) and not isinstance(optimizer, optax.GradientTransformation):
        raise UserError(f"optimizer: one of optax is needed, such as optax.adam(1e-3), got {optimizer!r:.80}")
    by_rate = not isinstance(optimizer, optax.GradientTransformation)
    if by_rate != (learning_rates is not None):
        raise UserError(
            "optimizer, learning_rates: an optax optimizer is needed where no learning rates are given, and a function "
            f"from a rate to an optimizer, such as optax.sgd, where they are; got {optimizer!r} and {learning_rates!r}"
        )
    rates = np.asarray([0.0]) if learning_rates is None else checked_rates(learning_rates)
    stops = np.unique(np.linspace(0, steps, min(evaluations, steps) + 1).round().astype(int))[1:]
    keys = jax.random.split(key, seeds or 1)
    each_rate, each_key = (
        jnp.repeat(jnp.asarray(rates, jnp.result_type(float)), len(keys)),
        jnp.tile(keys, len(rates)),
    )
    read = tuple(sorted(task.data().items()))
    programs = compiled(model, est, task, optimizer, by_rate, update_every, watch, len(each_key), at_once, read)

    runs = programs.begin(each_rate, each_key)
    batch_size = sequence_shape(jax.eval_shape(task.batch, key))[1]
    record = Record.empty(len(stops), jax.eval_shape(programs.evaluate, runs))
    words = f"{model}, {est}, {task}, steps {steps}, stops {len(stops)}, rates {rates.tolist()}, keys {key_words(keys)}"
    if checkpoint is not None:  # the program itself tells optimizers, losses and what is watched apart
        one = jax.eval_shape(lambda rates, runs: jax.tree.map(lambda leaf: leaf[0], (rates, runs)), each_rate, runs)
        whole = hashlib.sha256()
        for text, constants in (program(programs.leg_of_one, one), program(programs.evaluate_one, one[1])):
            whole.update(without_addresses(text).encode() + constants)
        words = without_addresses(f"{words}, program {whole.hexdigest()[:12]}")
        runs, record = checkpoints.load(Path(checkpoint), words, (runs, record)) or (runs, record)
    jax.block_until_ready(programs.leg(each_rate, runs, 0))  # so that the time of compilation is not the updates'
    reported = time.monotonic()
    for i in range(int(record.done), len(stops)):
        runs, losses, spent = after_a_leg(programs, each_rate, runs, int(stops[i] - (stops[i - 1] if i else 0)))
        held_out, watched = programs.evaluate(runs)
        record = record.add(spent, np.asarray(runs.seen, np.int64) * batch_size, losses, held_out, watched)
        if checkpoint is not None:
            checkpoints.save(Path(checkpoint), words, (runs, record))
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            print(
                f"{est} on {task}: {stops[i]} of {steps} updates, median loss {np.median(losses):.4g}", file=sys.stderr
            )
    shape = (*(() if learning_rates is None else (len(rates),)), *(() if seeds is None else (seeds,)))
    return history(stops, record, runs, shape)


def checked_rates(learning_rates: Any) -> np.ndarray:
    try:
        rates = np.asarray(learning_rates, float)
    except (TypeError, ValueError):
        rates = np.zeros(0)
    if rates.ndim != 1 or not rates.size:
        raise UserError(f"learning_rates: a list of numbers is needed, got {learning_rates!r:.80}")
    return rates


def after_a_leg(programs: "Programs", rates: Array, runs: Run, updates: int) -> tuple[Run, Array, float]:
    """The runs after so many updates, their mean losses, and the seconds that the updates took."""

    def timed(leg):
        began = time.perf_counter()
        return jax.block_until_ready(leg(rates, runs, updates)), time.perf_counter() - began

    if not np.any(runs.diverged_at >= 0):
        (after, losses, finite), spent = timed(programs.leg)
        if np.all(finite):
            return after, losses, spent
    jax.block_until_ready(programs.watched_leg(rates, runs, 0))  # so that the time of compilation is not the updates'
    (after, losses, _), spent = timed(programs.watched_leg)
    return after, losses, spent


class Record(NamedTuple):
    """The history as it grows: how many evaluations are done, and their figures `[E, runs, ...]`."""

    done: np.ndarray
    seconds: np.ndarray
    figures: PyTree

    @classmethod
    def empty(cls, evaluations: int, evaluated: PyTree) -> "Record":
        held_out, watched = evaluated
        whole = np.empty(held_out.shape, np.int64)
        rooms = jax.tree.map(
            lambda like: np.zeros((evaluations, *like.shape), like.dtype), (whole, held_out, held_out, watched)
        )
        return cls(np.array(0), np.zeros(evaluations), rooms)

    def add(self, seconds: float, *figures: PyTree) -> "Record":
        i = int(self.done)
        self.seconds[i] = seconds + (self.seconds[i - 1] if i else 0.0)

        def put(room, figure):
            room[i] = figure
            return room

        return Record(np.array(i + 1), self.seconds, jax.tree.map(put, self.figures, figures))


def history(stops: np.ndarray, record: Record, runs: Run, shape: tuple[int, ...]) -> History:
    def shaped(leaf):
        return np.asarray(leaf).reshape((*shape, *leaf.shape[1:]))

    figures = jax.tree.map(lambda leaf: shaped(np.moveaxis(leaf, 0, 1)), record.figures)
    seen, losses, held_out, watched = figures
    diverged_at, params = shaped(runs.diverged_at), jax.tree.map(shaped, runs.params)
    return History(stops, seen, losses, held_out, watched, record.seconds, diverged_at, params)


class Programs(NamedTuple):
    begin: Callable
    leg: Callable
    """The runs after so many updates, their mean losses, and whether each is finite still."""
    watched_leg: Callable
    """The same, with each run frozen at the update by which it diverged."""
    evaluate: Callable
    leg_of_one: Callable
    """One update of one run, on however many devices all are spread."""
    evaluate_one: Callable


@lru_cache(maxsize=4)  # the programs of a sweep would fill the memory
def compiled(
    model: Model,
    est: Estimator,
    task: Task,
    optimizer: Any,
    by_rate: bool,
    update_every: int,
    watch: Any,
    count: int,
    at_once: Any,
    data: tuple = (),
) -> Programs:
    """The programs of a training of so many runs; the estimator's numbers are constants in them, and so is what the
    task reads from files, of which `data` are the digests."""
    learning, read = (Drawing(model), Noisy(task, model)) if model.draws else (model, task)

    def optimizer_of(rate):
        chosen = optimizer(rate) if by_rate else optimizer
        return chosen if update_every == 1 else after_several(chosen, update_every)

    def side_by_side(function, whole, stacked):
        def mapped(whole, stacked):
            each = partial(function, whole)
            if at_once is None:
                return jax.vmap(each)(stacked)
            return lax.map(each, stacked, batch_size=at_once)

        return over_devices(mapped, whole, stacked)

    def begin_one(_, rate_and_key):
        rate, key = rate_and_key
        return begin(learning, est, read, optimizer_of(rate), key)

    def leg_of_one(updates, rate_and_run, watched=False):
        rate, run = rate_and_run

        def one(_, run_and_total):
            run, total = run_and_total
            after = update(learning, est, read, optimizer_of(rate), run)
            run = frozen_where_not_finite(run, after) if watched else after
            return run, total + run.loss

        run, total = lax.fori_loop(0, updates, one, (run, jnp.zeros_like(run.loss)))
        return run, bounded(total / updates), all_finite((total, run.params))

    def evaluate_one(batch, run):
        held_out = loss(model, run.params, batch).astype(run.loss.dtype)
        # a frozen run's parameters may be so large that its loss is not a number; that of any other is not hidden
        held_out = bounded(jnp.where((run.diverged_at >= 0) & jnp.isnan(held_out), jnp.inf, held_out))
        return held_out, None if watch is None else watch(run.params)

    @jax.jit
    def begin_all(rates, keys):
        return side_by_side(begin_one, None, (rates, keys))

    @jax.jit
    def run_leg(rates, runs, updates):
        return side_by_side(leg_of_one, updates, (rates, runs))

    @jax.jit
    def run_watched_leg(rates, runs, updates):
        return side_by_side(partial(leg_of_one, watched=True), updates, (rates, runs))

    @jax.jit
    def evaluate(runs):
        return side_by_side(evaluate_one, task.held_out(jax.random.key(0)), runs)

    held_out = partial(task.held_out, jax.random.key(0))
    return Programs(
        *(begin_all, run_leg, run_watched_leg, evaluate, partial(leg_of_one, 1)),
        lambda run: evaluate_one(held_out(), run),
    )


def bounded(value: Any):
    """A loss that is too large for its floating point, as the largest number."""
    return jnp.minimum(value, jnp.finfo(value.dtype).max)


def without_addresses(text: str) -> str:
    """What is printed of a function, without the place in memory where it lies this time."""
    return re.sub(" at 0x[0-9a-f]+", "", text)


def key_words(keys: Array) -> str:
    return np.asarray(jax.random.key_data(keys)).tobytes().hex()
