"""The copy task: symbols, and as many blanks in which they must be repeated."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.tasks.lines import Lines

BLANK, MARKER, KINDS = 0, 1, 4


@dataclass(frozen=True)
class Copy(Lines):
    """Repeat a marker and the symbols after it, as soon as they end.

    A line is a marker, n − 1 symbols out of 4 and n blanks, in which marker and symbols are to be named; before that a
    blank is. n is `longest`, or drawn from `shortest`..`longest` for every line.
    """

    longest: int = 10
    shortest: int | None = None
    name: ClassVar[str] = "copy"
    reference: ClassVar[str] = "Aicher, Foti & Fox 2019, Adaptively truncating backpropagation through time"
    inputs = 2 + KINDS

    def __post_init__(self):
        super().__post_init__()
        self.require_whole("longest", 2)
        if self.shortest is not None:
            self.require_whole("shortest", 2)
            self.require("shortest", f"at most longest = {self.longest}", lambda shortest: shortest <= self.longest)

    @property
    def least(self):
        return self.longest if self.shortest is None else self.shortest

    @property
    def least_size(self):
        return 2 * self.least

    def draw(self, key: Array):
        size_key, symbol_key = jax.random.split(key)
        copied = jax.random.randint(symbol_key, (self.longest,), MARKER + 1, self.inputs).at[0].set(MARKER)
        return jax.random.randint(size_key, (), self.least, self.longest + 1), copied

    def size(self, drawn: PyTree):
        return 2 * drawn[0]

    def symbols(self, drawn: PyTree, position: Array):
        size, copied = drawn
        symbol = jnp.where(position < size, copied[position], BLANK)
        return symbol, jnp.where(position < size, BLANK, copied[position - size])

    def floors(self):
        mean = (self.least + self.longest) / 2
        return {"best": 0.0, "blind": (mean - 1) * log(KINDS) / (2 * mean)}
