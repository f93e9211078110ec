"""Distant brackets: what stood between the first pair of brackets stands between the second one too."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.tasks.lines import Lines


@dataclass(frozen=True)
class Brackets(Lines):
    """Predict the next symbol of lines `[s]r[s]` and a newline; s and r are random, the second s is the first.

    s has `repeated` symbols, r has `between`, of an alphabet of so many `letters`.
    """

    repeated: int = 1
    between: int = 5
    letters: int = 10
    name: ClassVar[str] = "brackets"
    reference: ClassVar[str] = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"

    def __post_init__(self):
        super().__post_init__()
        for field in ("repeated", "between", "letters"):
            self.require_whole(field, 1)

    @property
    def inputs(self):
        return self.letters + 3

    @property
    def least_size(self):
        return 2 * self.repeated + self.between + 5

    def draw(self, key: Array):
        """The whole line: letters from 3 on, after newline 0, opening 1 and closing 2."""
        random = jax.random.randint(key, (self.repeated + self.between,), 3, self.inputs)
        newline, opening, closing = jnp.arange(3)[:, None]
        s, r = random[: self.repeated], random[self.repeated :]
        return jnp.concatenate([opening, s, closing, r, opening, s, closing, newline])

    def size(self, drawn: PyTree):
        return self.least_size

    def symbols(self, drawn: PyTree, position: Array):
        return drawn[position], drawn[(position + 1) % len(drawn)]

    def floors(self):
        size = self.least_size
        seen = (self.repeated + self.between) * log(self.letters)
        return {"best": seen / size, "blind": (seen + self.repeated * log(self.letters)) / size}
