"""Delayed recall: the smallest task of a memory, with a loss at the end only."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tbptt_jax.models import Batch
from tbptt_jax.tasks.adding import at_the_end
from tbptt_jax.tasks.base import Task


@dataclass(frozen=True)
class Recall(Task):
    """Name at step distance + 1 the symbol that was shown at step 1; in between there are blanks."""

    distance: int = 10
    symbols: int = 4
    batch_size: int = 32
    reference: ClassVar[str] = "the textbook chapter and lecture on backpropagation through time"

    def __post_init__(self):
        self.require_whole("distance", 1)
        self.require_whole("symbols", 2)
        self.require_whole("batch_size", 1)

    @property
    def inputs(self):
        return self.symbols + 1

    @property
    def outputs(self):
        return self.symbols

    @property
    def length(self):
        return self.distance + 1

    def batch(self, key: Array):
        length = self.length
        shown = jax.random.randint(key, (self.batch_size,), 0, self.symbols)
        symbols = jnp.full((length, self.batch_size), self.symbols).at[0].set(shown)
        targets = jnp.broadcast_to(shown, symbols.shape)
        return Batch(jax.nn.one_hot(symbols, self.inputs), targets, at_the_end(length, self.batch_size))

    def floors(self):
        return {"best": 0.0, "blind": log(self.symbols)}
