"""Endless streams of short random lines of symbols: what the formal languages and the copy task have in common."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from tbptt_jax.models import Batch
from tbptt_jax.tasks.base import Task

HELD_OUT_STEPS = 512


class Reading(NamedTuple):
    """Where a sequence is being read: its key, the number of its line, what was drawn for that, and the position."""

    key: Array
    line: Array
    drawn: PyTree
    position: Array


@dataclass(frozen=True)
class Lines(Task):
    """Chunks of `length` steps from `batch_size` streams, each of which begins somewhere in its first line.

    A line is drawn as a few numbers, from which each of its steps follows. Fresh sequences for evaluation begin with
    their first line, and last at least 512 steps.
    """

    length: int = 32  # type: ignore[misc]
    batch_size: int = 32
    streams = True

    def __post_init__(self):
        self.require_whole("length", 1)
        self.require_whole("batch_size", 1)

    @property
    def outputs(self):
        return self.inputs

    @abstractmethod
    def draw(self, key: Array) -> PyTree:
        """What is random in a line."""

    @abstractmethod
    def size(self, drawn: PyTree) -> Array | int:
        """How many steps a line has."""

    @abstractmethod
    def symbols(self, drawn: PyTree, position: Array) -> tuple[Array, Array]:
        """The symbol that is read at a step of a line, and the one to be named there."""

    def begin(self, key: Array) -> Reading:
        return Reading(key, jnp.array(0), self.draw(jax.random.fold_in(key, 0)), jnp.array(0))

    def start(self, key: Array):
        def somewhere(key):
            key, position_key = jax.random.split(key)
            reading = self.begin(key)
            return reading._replace(position=jax.random.randint(position_key, (), 0, self.size(reading.drawn)))

        return jax.vmap(somewhere)(jax.random.split(key, self.batch_size)), jnp.array(True)

    def chunk(self, source: PyTree, steps: Any = None):
        readings, fresh = source
        symbols, targets, after = jax.vmap(lambda r: self.read(r, self.length), out_axes=1)(readings)
        last = jax.tree.map(lambda leaf: leaf[(self.length if steps is None else steps) - 1], after)
        return self.as_batch(symbols, targets), fresh, (last, jnp.array(False))

    def batch(self, key: Array):
        steps = max(self.length, HELD_OUT_STEPS)
        keys = jax.random.split(key, self.batch_size)
        symbols, targets, _ = jax.vmap(lambda key: self.read(self.begin(key), steps), out_axes=1)(keys)
        return self.as_batch(symbols, targets)

    def held_out(self, key: Array):
        return self.batch(key)

    def as_batch(self, symbols: Int[Array, "T B"], targets: Int[Array, "T B"]) -> Batch:
        return Batch(jax.nn.one_hot(symbols, self.inputs), targets)

    def read(self, reading: Reading, steps: int) -> tuple[Array, Array, Reading]:
        """Symbols and targets of the next steps, and the reading after each of them."""

        def step(reading, _):
            symbol, target = self.symbols(reading.drawn, reading.position)
            reading = self.move_on(reading)
            return reading, (symbol, target, reading)

        return jax.lax.scan(step, reading, length=steps)[1]

    def move_on(self, reading: Reading) -> Reading:
        ended = reading.position + 1 == self.size(reading.drawn)
        line = reading.line + ended
        drawn = jax.tree.map(
            lambda new, old: jnp.where(ended, new, old),
            self.draw(jax.random.fold_in(reading.key, line)),
            reading.drawn,
        )
        return Reading(reading.key, line, drawn, jnp.where(ended, 0, reading.position + 1))
