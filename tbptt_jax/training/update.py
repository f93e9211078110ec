"""One update of the parameters, the same for every estimator, task and optimizer.

Of an episode, or of a stream's next chunk. In a stream, an estimator that cuts it into random segments (artbp) makes
one update a segment, shared by the batch: the first cut that is drawn within a chunk of `task.length` steps ends the
segment, and a segment that no cut ends is as long as the chunk. Its gradient is that of the sum of the segment's
losses over the mean length of a segment, so that a step of the stream counts the same in short segments and in long.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.base import Estimate, Estimator, GatedEstimator
from tbptt_jax.estimators.laws import Renewal
from tbptt_jax.model import Batch, Model, sequence_shape
from tbptt_jax.tasks.base import Task


class Run(NamedTuple):
    """A training run at one moment; `seen` counts the steps that it has read of every sequence.

    One that diverged stays as it was before the update (`diverged_at`, from 0; −1: none) that gave a number that is not
    finite.
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
    carry = est.init(model, params, sequence_shape(batch)[1], carry_key)
    none = jnp.array(0)
    run = Run(params, optimizer.init(params), carry, source, key, none, none, none * 1.0, none - 1)
    # a number of the type that any float or integer takes on would be of another type after an update
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else leaf.astype(leaf.dtype), run)


def update(model: Model, est: Estimator, task: Task, optimizer: optax.GradientTransformation, run: Run) -> Run:
    """The run after one more update; as it is, if it has diverged."""
    key, carry_key, estimate_key = jax.random.split(run.key, 3)
    estimate, carry, source, read = estimated(model, est, task, run, carry_key, estimate_key)
    changes, optimizer_state = optimizer.update(estimate.grads, run.optimizer_state, run.params)
    params = optax.apply_updates(run.params, changes)
    loss = estimate.loss.astype(run.loss.dtype)
    after = Run(params, optimizer_state, carry, source, key, run.updates + 1, run.seen + read, loss, run.diverged_at)
    fine = all_finite((loss, params)) & (run.diverged_at < 0)
    diverged_at = jnp.where(fine | (run.diverged_at >= 0), run.diverged_at, run.updates)
    return select(fine, after, run)._replace(diverged_at=diverged_at)


def estimated(model, est, task, run, carry_key, estimate_key) -> tuple[Estimate, PyTree, PyTree, Array]:
    """The estimate, what is carried on, where to read on, and how many steps were read."""

    def on_from(fresh, batch_size):
        return select(fresh, est.restart(model, run.params, run.carry, batch_size, carry_key), run.carry)

    law = segment_law(est, task)
    if law is None:
        batch, fresh, source = task.chunk(run.source)
        length, batch_size = sequence_shape(batch)
        estimate, carry = est(model, run.params, on_from(fresh, batch_size), batch, estimate_key)
        return estimate, carry, source, jnp.array(length)

    together = replace(est, shared=True)
    steps = first_cut(together.gates(estimate_key, task.length, 1)[:, 0])
    batch, fresh, source = task.chunk(run.source, steps)
    length, batch_size = sequence_shape(batch)
    inside = jnp.broadcast_to(jnp.arange(length)[:, None] < steps, (length, batch_size))
    weights = inside * (1.0 if batch.weights is None else batch.weights)
    stopped = Batch((batch.inputs, inside), batch.targets, weights)
    start = on_from(fresh, batch_size)
    estimate, carry = together(Stopping(model), run.params, start, stopped, estimate_key)
    share = steps / mean_length(law)
    grads = jax.tree.map(lambda leaf: (leaf * share).astype(leaf.dtype), estimate.grads)
    return Estimate(estimate.loss, grads), carry, source, steps


def segment_law(est: Estimator, task: Task) -> Renewal | None:
    """How an estimator cuts a stream into random segments, if it does."""
    law = est.law(task.length) if task.streams and isinstance(est, GatedEstimator) else None  # type: ignore[attr-defined]
    if not isinstance(law, Renewal):
        return None
    if not hasattr(est, "shared"):
        raise ValueError(
            f"{est.name}: a field `shared` is needed, by which a batch is cut into the same random segments"
        )
    return law


def first_cut(gates: Array) -> Array:
    """How many steps `[T]` gates leave before the first cut after the first step; T where there is none."""
    cut = (gates == 0).at[0].set(False)
    return jnp.where(jnp.any(cut), jnp.argmax(cut), len(gates))


def mean_length(law: Renewal) -> Array:
    """E[min(length of a segment, T)] = Σ_{d < T} P(a segment is longer than d)."""
    return 1 + jnp.sum(jnp.cumprod(1 - law.cut[:-1]))


@dataclass(frozen=True)
class Stopping(Model):
    """A model that stops where its inputs say so: (x, whether the sequence is still going on `[B]`)."""

    model: Model

    def init(self, key):
        return self.model.init(key)

    def initial_state(self, params, batch_size):
        return self.model.initial_state(params, batch_size)

    def step(self, params, state, x):
        x, going = x
        return jax.tree.map(
            lambda new, old: jnp.where(going.reshape(-1, *[1] * (new.ndim - 1)), new, old),
            self.model.step(params, state, x),
            state,
        )

    def readout(self, params, state):
        return self.model.readout(params, state)

    def losses(self, output, target):
        return self.model.losses(output, target)


def select(condition, chosen, other):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def all_finite(tree) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
