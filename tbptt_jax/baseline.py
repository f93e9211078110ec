"""The baseline without memory: a trigram language model, a feed-forward network of the last two inputs."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.models import Model, Params
from tbptt_jax.networks import softmax_loss


@dataclass(frozen=True)
class Trigram(Model):
    """o_t = W_qh tanh(W_he [E x_t, E x_{t−1}] + b_h) + b_q, with the softmax loss.

    Its state is the last two inputs, which no parameter touches, so that every truncation gives its exact gradient.
    """

    symbols: int
    embedding: int = 16
    hidden: int = 64

    def init(self, key: Array):
        keys = jax.random.split(key, 3)
        return {
            "E": jax.random.normal(keys[0], (self.embedding, self.symbols)),
            "W_he": jax.random.normal(keys[1], (self.hidden, 2 * self.embedding)) / (2 * self.embedding) ** 0.5,
            "b_h": jnp.zeros(self.hidden),
            "W_qh": jax.random.normal(keys[2], (self.symbols, self.hidden)) / self.hidden**0.5,
            "b_q": jnp.zeros(self.symbols),
        }

    def initial_state(self, params: Params, batch_size: int):
        return jnp.zeros((batch_size, 2, self.symbols), params["E"].dtype)

    def step(self, params: Params, state: PyTree, x: PyTree):
        return jnp.stack([x.astype(state.dtype), state[:, 0]], axis=1)

    def readout(self, params: Params, state: PyTree):
        embedded = (state @ params["E"].T).reshape(len(state), -1)
        hidden = jnp.tanh(embedded @ params["W_he"].T + params["b_h"])
        return hidden @ params["W_qh"].T + params["b_q"]

    def losses(self, output: PyTree, target: PyTree):
        return softmax_loss(output, target)


def trigram(symbols: int, embedding: int = 16, hidden: int = 64) -> Trigram:
    """A trigram model: what can be said without memory, from the last two symbols alone.

    Args:
        symbols: How many symbols there are, which it reads one-hot.
        embedding: How many numbers a symbol becomes.
        hidden: The width of its hidden layer.

    Returns:
        The model.
    """
    return Trigram(symbols, embedding, hidden)
