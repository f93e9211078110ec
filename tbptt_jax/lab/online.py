"""Learning online from one episode that is gone through again and again, by workers that stand at different places."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.leaves import all_finite
from tbptt_jax.models import Batch, Model


def number_of_chunks(steps: int, unroll: int) -> int:
    """Of an episode, in whole chunks of `unroll` steps."""
    if unroll < 1 or steps % unroll:
        raise UserError(f"unroll: a divisor of the {steps} steps is needed, got {unroll}")
    return steps // unroll


class Workers(NamedTuple):
    """Each carries what its estimator carries, and stands before a chunk; before its first one, at a number below 0."""

    carry: PyTree
    place: Int[Array, " N"]


class Learned(NamedTuple):
    """What became of N trainings, at their start and at E evaluations."""

    updates: np.ndarray
    """Updates made, `[E + 1]`."""
    params: PyTree
    """Leaves `[N, E + 1, ...]`."""
    watched: PyTree
    """The same."""


def learn_online(
    model: Model,
    est: Estimator,
    chunks: Batch,
    optimizer: optax.GradientTransformation,
    *,
    workers: int,
    updates: int,
    evaluations: int,
    watch: Callable[[PyTree], PyTree],
    seeds: Array,
) -> Learned:
    """Train online: every update takes the mean of the workers' estimates, each on its own next chunk. At the end of
    the episode a worker starts it anew. `chunks` has leaves `[C, T, B, ...]`. An update that is not finite is not made.
    There is a training for each of the keys `seeds`, side by side."""
    if updates < 1 or updates % evaluations:
        raise UserError(f"updates: a multiple of the {evaluations} evaluations is needed, got {updates}")
    count = len(chunks.targets)
    start = jax.tree.map(lambda leaf: leaf[0], chunks)

    def work(params: PyTree, carry: PyTree, place: Array, key: Array):
        """A worker's estimate on its next chunk, and the worker after it."""
        batch = jax.tree.map(lambda leaf: leaf[jnp.maximum(place, 0)], chunks)
        start_key, key = jax.random.split(key)
        anew = est.restart(model, params, carry, batch, start_key)
        carry = jax.tree.map(lambda new, old: jnp.where(place <= 0, new, old), anew, carry)
        estimate, carry = est(model, params, carry, batch, key)
        grads = jax.tree.map(lambda leaf: jnp.where(place >= 0, leaf, 0.0), estimate.grads)
        return grads, Workers(carry, jnp.where(place + 1 == count, 0, place + 1))

    def all_work(params: PyTree, team: Workers, key: Array):
        grads, team = jax.vmap(work, (None, 0, 0, 0))(params, *team, jax.random.split(key, workers))
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), grads), team

    def update(state: Any, key: Array):
        params, team, memory = state
        grads, team = all_work(params, team, key)
        changes, after = optimizer.update(grads, memory, params)
        new = optax.apply_updates(params, changes), after
        sound = all_finite(new[0])
        params, memory = jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, (params, memory))
        return (params, team, memory), None

    def begin(key: Array):
        """Workers that have come to their places, with parameters as they were drawn."""
        params = model.init(key)
        carries = jax.vmap(lambda key: est.init(model, params, start, key))(jax.random.split(key, workers))
        team = Workers(carries, -(jnp.arange(workers) * count // workers))
        if workers > 1:
            step = partial(jax.lax.scan, lambda team, key: (all_work(params, team, key)[1], None))
            team, _ = step(team, jax.random.split(key, count))
        return params, team, optimizer.init(params)

    def leg(state: Any, key: Array):
        state, _ = jax.lax.scan(update, state, jax.random.split(key, updates // evaluations))
        return state, (state[0], watch(state[0]))

    @jax.jit
    @jax.vmap
    def run(key: Array):
        begin_key, key = jax.random.split(key)
        state = begin(begin_key)
        first = state[0], watch(state[0])
        _, later = jax.lax.scan(leg, state, jax.random.split(key, evaluations))
        return jax.tree.map(lambda one, more: jnp.concatenate([jnp.asarray(one)[None], more]), first, later)

    params, watched = jax.device_get(run(seeds))
    return Learned(np.arange(evaluations + 1) * (updates // evaluations), params, watched)
