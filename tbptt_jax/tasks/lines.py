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
    endless = True

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

    @property
    def least_size(self) -> int:
        """A number of steps that every line has at least."""
        return 1

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
        """Symbols and targets of the next steps, and the reading after each of them: the lines that they may reach are
        drawn first, each from its own number, and then each step finds its own."""
        lines = reading.line + jnp.arange(2 + steps // self.least_size)
        drawn = jax.vmap(lambda line: self.draw(jax.random.fold_in(reading.key, line)))(lines)
        sizes = jnp.broadcast_to(jax.vmap(self.size)(drawn), lines.shape)
        ends = jnp.cumsum(sizes) - reading.position
        time = jnp.arange(steps + 1)
        which = jnp.searchsorted(ends, time, side="right")
        place = Reading(
            jnp.broadcast_to(reading.key, time.shape),
            lines[which],
            jax.tree.map(lambda leaf: leaf[which], drawn),
            time - (ends - sizes)[which],
        )
        now, after = (jax.tree.map(lambda leaf, part=part: leaf[part], place) for part in (slice(-1), slice(1, None)))
        symbols, targets = jax.vmap(self.symbols)(now.drawn, now.position)
        return symbols, targets, after
