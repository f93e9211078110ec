"""Critics that are linear in features of the state, by least squares over all chunks seen, the older counting less."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tbptt_jax.critics.base import Critic
from tbptt_jax.pytree import Real


class Moments(NamedTuple):
    """Discounted sums of φφᵀ and φcᵀ over states and credits, and the weights that solve the least squares."""

    features: Float[Array, "F F"]
    products: Float[Array, "F H"]
    weights: Float[Array, "F H"]


@dataclass(frozen=True, kw_only=True)
class Linear(Critic):
    """s(h) = W (h, 1), by least squares: no learning rate to tune.

    A chunk counts `memory` times as much as the one after it. To the diagonal of Σ φφᵀ, φ the features, `ridge` times
    the mean of that diagonal is added.
    """

    memory: Real = 0.99
    ridge: Real = 1e-4

    def __post_init__(self):
        self.require("memory", "a number from 0 to 1", lambda memory: (memory >= 0) & (memory <= 1))
        self.require("ridge", "a number above 0", lambda ridge: ridge > 0)

    def features(self, states: Float[Array, "N H"]) -> Float[Array, "N F"]:
        return jnp.concatenate([states, jnp.ones_like(states[:, :1])], axis=1)

    def init(self, size: int, dtype: Any):
        count = jax.eval_shape(self.features, jax.ShapeDtypeStruct((1, size), dtype)).shape[1]
        shapes = (count, count), (count, size), (count, size)
        wide = jnp.promote_types(dtype, jnp.float32)  # there is no solution, and no long sum, of fewer bits
        return Moments(*(jnp.zeros(shape, wide) for shape in shapes))

    def predict(self, learned: Moments, states: Float[Array, "N H"]):
        return (self.features(states) @ learned.weights).astype(states.dtype)

    def fit(self, learned: Moments, states: Float[Array, "N H"], credits: Float[Array, "N H"]):
        features, credits = (part.astype(learned.weights.dtype) for part in (self.features(states), credits))
        squares = self.memory * learned.features + features.T @ features
        products = self.memory * learned.products + features.T @ credits
        scale = jnp.trace(squares) / len(squares)
        weights = jax.scipy.linalg.solve(
            squares + self.ridge * scale * jnp.eye(len(squares), dtype=squares.dtype), products, assume_a="pos"
        )
        return jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), Moments(squares, products, weights), learned)


@dataclass(frozen=True, kw_only=True)
class Features(Linear):
    """s(h) = W (h, tanh(R h + b), 1), with `count` random features that are drawn once, by least squares."""

    count: int = field(default=256, metadata={"static": True})
    seed: int = field(default=0, metadata={"static": True})

    def __post_init__(self):
        super().__post_init__()
        self.require_whole("count", 1)
        self.require_whole("seed", 0)

    def features(self, states: Float[Array, "N H"]):
        draw, size = np.random.default_rng(self.seed), states.shape[1]
        random = draw.normal(size=(size, self.count)) * (2 / np.sqrt(size))
        offset = draw.uniform(-1, 1, self.count)
        drawn = jnp.tanh(states @ random.astype(states.dtype) + offset.astype(states.dtype))
        return jnp.concatenate([super().features(states), drawn], axis=1)
