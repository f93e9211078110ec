"""What a critic, as it is, predicts along a sequence."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tbptt_jax.critics.base import Critic
from tbptt_jax.estimators.predicted import flat
from tbptt_jax.forward import loss_weights, or_one
from tbptt_jax.gradients.cuts.lags import Trajectory
from tbptt_jax.models import Batch


def predictor(critic: Critic, state: PyTree) -> Callable[[Array], Array]:
    """What a critic predicts as it is at first, which of a frozen one is what it has learned."""
    example = jax.eval_shape(lambda: flat(jax.tree.map(lambda leaf: leaf[None], state)))
    return partial(critic.predict, critic.init(example.shape[2], example.dtype))


def foreseen(critic: Critic | None, run: Trajectory, batch: Batch) -> tuple[list, list]:
    """Two lists of leaves `[T, B, ...]`, as in the state, 0 without a critic: s_{t−1}, what the critic predicts that
    each step passes back, the first of which does not count; and what it adds to own credit, at the last step only."""
    nothing = [jnp.zeros_like(leaf) for leaf in run.own_credit]
    if critic is None:
        return nothing, nothing
    predict = predictor(critic, jax.tree.map(lambda leaf: leaf[0], run.before))
    unit = or_one(jnp.sum(loss_weights(batch)))

    def credit(states: PyTree) -> list:
        rows = flat(states)
        ends = np.cumsum([leaf[0, 0].size for leaf in run.own_credit])[:-1]
        parts = jnp.split(predict(rows.reshape(-1, rows.shape[2])).reshape(rows.shape) / unit, ends, axis=2)
        return [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, run.own_credit)]

    beyond = [zero.at[-1].add(last[-1]) for zero, last in zip(nothing, credit(run.after))] if critic.beyond else nothing
    return credit(run.before), beyond
