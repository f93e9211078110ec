"""One update of the parameters, the same for every estimator, task and optimizer.

Of an episode, or of a stream's next chunk. In a stream, an estimator whose draws cut it (`updates_at_cuts`) makes one
update a random segment, shared by the batch: the first cut that is drawn within a chunk of `task.length` steps ends the
segment, and a segment that no cut ends is as long as the chunk. Its gradient is that of the sum of the segment's
losses over the mean length of a segment, so that a step of the stream counts the same in short segments and in long.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimate, Estimator
from tbptt_jax.leaves import all_finite, is_key
from tbptt_jax.models import Batch, Model, Stopping, sequence_shape, with_resets
from tbptt_jax.tasks.base import Task


class Run(NamedTuple):
    """A training run at one moment; `seen` counts the steps that it has read of every sequence.

    A run that diverged stays as it was before the update that gave a number that is not finite; `diverged_at` is the
    number of that update, from 0, and −1 where there is none.
    """

    params: PyTree
    optimizer_state: PyTree
    carry: PyTree
    source: PyTree
    key: Array
    updates: Array
    seen: Array
    loss: Array
    diverged_at: Array


def begin(model: Model, est: Estimator, task: Task, optimizer: optax.GradientTransformation, key: Array) -> Run:
    key, init_key, source_key, carry_key = jax.random.split(key, 4)
    params = model.init(init_key)
    source = task.start(source_key)
    batch = jax.eval_shape(task.chunk, source)[0]
    carry = est.init(model, params, batch, carry_key)
    none = jnp.array(0)
    run = Run(params, optimizer.init(params), carry, source, key, none, none, none * 1.0, none - 1)
    # a number of the type that any float or integer takes on would be of another type after an update
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else leaf.astype(leaf.dtype), run)


def update(model: Model, est: Estimator, task: Task, optimizer: optax.GradientTransformation, run: Run) -> Run:
    """The run after one more update, be its numbers finite or not."""
    key, carry_key, estimate_key = jax.random.split(run.key, 3)
    estimate, carry, source, read = estimated(model, est, task, run, carry_key, estimate_key)
    changes, optimizer_state = optimizer.update(estimate.grads, run.optimizer_state, run.params)
    params = optax.apply_updates(run.params, changes)
    loss = estimate.loss.astype(run.loss.dtype)
    return Run(params, optimizer_state, carry, source, key, run.updates + 1, run.seen + read, loss, run.diverged_at)


def frozen_where_not_finite(run: Run, after: Run) -> Run:
    """The run after an update; as it was before, if it diverges by it or has diverged."""
    fine = all_finite((after.loss, after.params)) & (run.diverged_at < 0)
    diverged_at = jnp.where(fine | (run.diverged_at >= 0), run.diverged_at, run.updates)
    return select(fine, after, run)._replace(diverged_at=diverged_at)


def estimated(
    model: Model, est: Estimator, task: Task, run: Any, carry_key: Array, estimate_key: Array
) -> tuple[Estimate, PyTree, PyTree, Array]:
    """The estimate, what is carried on, where to read on, and how many steps were read."""

    def on_from(fresh, batch):
        if task.endless:  # what it starts with is what training starts with
            return run.carry
        return select(fresh, est.restart(model, run.params, run.carry, batch, carry_key), run.carry)

    if not (task.streams and est.updates_at_cuts):
        batch, fresh, source = task.chunk(run.source)
        estimate, carry = est(model, run.params, on_from(fresh, batch), batch, estimate_key)
        return estimate, carry, source, jnp.array(sequence_shape(batch)[0])

    if est.learns:
        raise UserError(
            f"estimator: {est} makes an update at each cut of a stream, and a critic never sees there what lies beyond "
            "a cut; leave it out, or train on episodes"
        )
    together: Any = replace(est, shared=True)  # type: ignore[type-var]
    steps = first_cut(together.gates(estimate_key, task.length, 1)[:, 0])
    batch, fresh, source = task.chunk(run.source, steps)
    start = on_from(fresh, batch)
    model, batch = with_resets(model, batch)  # within the model that stops: it stands still where steps are not there
    length, batch_size = sequence_shape(batch)
    inside = jnp.broadcast_to(jnp.arange(length)[:, None] < steps, (length, batch_size))
    weights = inside * (1.0 if batch.weights is None else batch.weights)
    stopped = Batch((batch.inputs, inside), batch.targets, weights)
    estimate, carry = together(Stopping(model), run.params, start, stopped, estimate_key)
    share = steps / together.law(task.length).mean_length()
    grads = jax.tree.map(lambda leaf: (leaf * share).astype(leaf.dtype), estimate.grads)
    return Estimate(estimate.loss, grads), carry, source, steps


def first_cut(gates: Array) -> Array:
    """How many steps `[T]` gates leave before the first cut after the first step; T where there is none."""
    cut = (gates == 0).at[0].set(False)
    return jnp.where(jnp.any(cut), jnp.argmax(cut), len(gates))


def select(condition: Array, chosen: PyTree, other: PyTree):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)
