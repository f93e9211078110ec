"""What one cell measures."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import tbptt_jax as tb
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.online import learn_online, number_of_chunks

FIRST = (-4.0, -4.0)
"""The logarithms of the two rates before they are learned."""
START = (1.0, 1.0)
EVERY = 50
"""Updates, after which it is seen where they have come to: the ways on the map turn within the first thousand."""


def height(place: Array) -> Array:
    """Of the surface, at places `[..., 2]`: a valley along the first axis, with bumps, and a slope along the second."""
    x, y = place[..., 0], place[..., 1]
    return jnp.sqrt(x**2 + 5) - np.sqrt(5) + jnp.sin(y) ** 2 * jnp.exp(-5 * x**2) + jnp.abs(y - 100) / 4


@dataclass(frozen=True)
class Descent(tb.Model):
    """Gradient descent whose rate goes linearly from exp θ_1 at its first step towards exp θ_2, which it would have
    after the last; a state is (place, number of the step)."""

    steps: int

    def init(self, key: Array):
        return {"theta": jnp.asarray(FIRST)}

    def initial_state(self, params: Any, batch_size: int):
        return jnp.tile(jnp.asarray(START), (batch_size, 1)), jnp.zeros(batch_size)

    def step(self, params: Any, state: PyTree, x: PyTree):
        place, number = state
        first, last = jnp.exp(params["theta"])
        part = number / self.steps
        rate = first * (1 - part) + last * part
        slope = jax.grad(lambda place: jnp.sum(height(place)))(place)
        return place - rate[:, None] * slope, number + 1

    def readout(self, params: Any, state: PyTree):
        return height(state[0])

    def losses(self, output: PyTree, target: PyTree):
        return output - target


def episode(steps: int, unroll: int) -> tb.Batch:
    """Nothing is read, and heights are compared with 0, in chunks `[C, T, 1]`."""
    nothing = jnp.zeros((number_of_chunks(steps, unroll), unroll, 1))
    return tb.Batch(nothing[..., None], nothing)


def measure(config: Config, key: Array):
    est = config.estimator
    model = Descent(config["steps"])
    whole = jax.tree.map(lambda leaf: leaf[0], episode(config["steps"], config["steps"]))

    def meta_loss(params):
        return tb.loss(model, params, whole)

    right_within_its_chunk = est.unbiased == "chunk"
    unroll = config["steps" if right_within_its_chunk else "unroll"]  # such are given whole descents
    learned = learn_online(
        model,
        est,
        episode(config["steps"], unroll),
        optax.adam(1e-2, b1=0.99),
        workers=1,
        updates=config["updates"],
        evaluations=max(1, config["updates"] // EVERY),
        watch=meta_loss,
        seeds=jax.random.split(key, config["seeds"]),
    )
    rows = []
    for i in range(config["seeds"]):
        theta = learned.params["theta"][i]
        rows.append(
            {
                "run": i,
                "meta_loss": float(learned.watched[i][-1]),
                "first_rate": float(theta[-1][0]),
                "last_rate": float(theta[-1][1]),
                "curve_updates": learned.updates,
                "curve_steps": learned.updates * unroll * est.runs,
                "curve_loss": learned.watched[i],
                "curve_first": theta[:, 0],
                "curve_last": theta[:, 1],
            }
        )
    return rows
