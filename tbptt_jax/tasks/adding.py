"""The adding problem: two of many numbers are marked, and their sum is asked for at the end."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tbptt_jax.models import Batch
from tbptt_jax.tasks.base import Task


@dataclass(frozen=True)
class Adding(Task):
    """Add the two marked ones of `length` uniform numbers, one in each half; the loss is at the last step only."""

    length: int = 20  # type: ignore[misc]
    batch_size: int = 32
    reference: ClassVar[str] = "Hochreiter & Schmidhuber 1997, Long short-term memory"
    inputs = 2
    outputs = 1
    loss = "squared"

    def __post_init__(self):
        self.require_whole("length", 2)
        self.require_whole("batch_size", 1)

    def batch(self, key: Array):
        value_key, first_key, second_key = jax.random.split(key, 3)
        values = jax.random.uniform(value_key, (self.length, self.batch_size))
        half = self.length // 2
        first = jax.random.randint(first_key, (self.batch_size,), 0, half)
        second = jax.random.randint(second_key, (self.batch_size,), half, self.length)
        marks = sum(jax.nn.one_hot(place, self.length, axis=0) for place in (first, second))
        sums = jnp.sum(values * marks, axis=0)
        return Batch(
            jnp.stack([values, marks], axis=-1),
            jnp.broadcast_to(sums[:, None], (self.length, self.batch_size, 1)),
            at_the_end(self.length, self.batch_size),
        )

    def floors(self):
        return {"best": 0.0, "blind": 1 / 12}  # half the variance of a sum of two uniform numbers


def at_the_end(length: int, batch_size: int):
    """Weights of a loss at the last step only."""
    return jnp.zeros((length, batch_size)).at[-1].set(1.0)
