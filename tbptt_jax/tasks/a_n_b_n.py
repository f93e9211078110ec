"""Lines of n a's and n b's: the smallest language that has to be counted."""

from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.tasks.lines import Lines

NEWLINE, A, B = 0, 1, 2


@dataclass(frozen=True)
class AnBn(Lines):
    """Predict the next symbol of lines of n a's, a newline, n b's and a newline, n from 1..most.

    Where the a's end is anybody's guess; where the b's end is not, for who has counted.
    """

    most: int = 32
    name: ClassVar[str] = "a_n_b_n"
    reference: ClassVar[str] = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
    inputs = 3

    def __post_init__(self):
        super().__post_init__()
        self.require_whole("most", 1)

    least_size = 4

    def draw(self, key: Array):
        return jax.random.randint(key, (), 1, self.most + 1)

    def size(self, drawn: PyTree):
        return 2 * drawn + 2

    def symbols(self, drawn: PyTree, position: Array):
        return at(drawn, position), at(drawn, position + 1)

    def floors(self):
        mean_size = self.most + 3
        return {"best": log(self.most) / mean_size, "blind": 2 * log(self.most) / mean_size}


def at(n: Any, position: Array):
    """The symbol of a line at a position; the one after its end is the next line's first."""
    newline = (position == n) | (position == 2 * n + 1)
    return jnp.where(newline, NEWLINE, jnp.where((position < n) | (position > 2 * n + 1), A, B))
