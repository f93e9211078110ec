"""Critics that are networks, by gradient descent on the squared error."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.critics.base import Critic
from tbptt_jax.errors import UserError
from tbptt_jax.pytree import Real


class Weights(NamedTuple):
    params: PyTree
    optimizer_state: PyTree
    scale: Float[Array, ""]
    """A running mean of the credits' squares, in units of whose root the network gives them; at first 0."""


@dataclass(frozen=True, kw_only=True)
class Network(Critic):
    """A critic that is a network of your own, fitted by one step of Adam a chunk.

    `make(key, h [1, H])` gives its parameters and `apply(params, h [N, H])` its output `[N, H]`: `init` and `apply` of
    a flax.linen module will do. Predictions are the output times the size of the credits, the root of a running mean of
    their squares, so that a learning rate does not depend on the scale of the loss. Before the first chunk that size is
    0, and so is every prediction.
    """

    make: Callable | None = field(default=None, metadata={"static": True})
    apply: Callable | None = field(default=None, metadata={"static": True})
    rate: Real = 1e-2
    memory: Real = 0.99
    seed: int = field(default=0, metadata={"static": True})

    def __post_init__(self):
        self.require("rate", "a number above 0", lambda rate: rate > 0)
        self.require("memory", "a number from 0 to below 1", lambda memory: (memory >= 0) & (memory < 1))
        self.require_whole("seed", 0)
        self.require_functions()

    def require_functions(self) -> None:
        for name in ("make", "apply"):
            if not callable(getattr(self, name)):
                raise UserError(f"{self.name}: {name} must be a function, got {getattr(self, name)!r}")

    def functions(self) -> tuple[Callable, Callable]:
        return self.make, self.apply  # type: ignore[return-value]

    def init(self, size: int, dtype: Any):
        params = self.functions()[0](jax.random.key(self.seed), jnp.zeros((1, size), dtype))
        return Weights(params, optax.adam(self.rate).init(params), jnp.zeros((), dtype))

    def predict(self, learned: Weights, states: Float[Array, "N H"]):
        return jnp.sqrt(learned.scale) * self.functions()[1](learned.params, states)

    def fit(self, learned: Weights, states: Float[Array, "N H"], credits: Float[Array, "N H"]):
        square = jnp.mean(credits**2)
        scale = jnp.where(learned.scale == 0, square, self.memory * learned.scale + (1 - self.memory) * square)
        wanted = credits / jnp.sqrt(jnp.where(scale == 0, 1, scale))

        def error(params):
            return jnp.mean((self.functions()[1](params, states) - wanted) ** 2)

        changes, state = optax.adam(self.rate).update(jax.grad(error)(learned.params), learned.optimizer_state)
        return Weights(optax.apply_updates(learned.params, changes), state, scale.astype(learned.scale.dtype))


@dataclass(frozen=True, kw_only=True)
class MLP(Network):
    """One hidden layer of `width` tanh units."""

    width: int = field(default=64, metadata={"static": True})

    def require_functions(self):
        self.require_whole("width", 1)

    def functions(self):
        def make(key: Array, states: Float[Array, "N H"]):
            size = states.shape[1]
            weights = jax.random.normal(key, (size, self.width), states.dtype) / size**0.5
            shapes = {"b": (self.width,), "V": (self.width, size), "c": (size,)}
            return {"W": weights} | {name: jnp.zeros(shape, states.dtype) for name, shape in shapes.items()}

        def apply(params: PyTree, states: Float[Array, "N H"]):
            return jnp.tanh(states @ params["W"] + params["b"]) @ params["V"] + params["c"]

        return make, apply
