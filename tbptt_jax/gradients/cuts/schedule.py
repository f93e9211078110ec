"""When to keep which state, if a bounded number may be kept: the binomial schedule, in blocks of steps.

Griewank (1992): with s states kept besides the one at hand, β(s, r) = C(s + r, s) blocks can be taken back with at most
r forward passes through each, and no schedule does better. The steps of a block are taken back together, from states
that are made again from the block's first.
"""

from functools import cache
from math import ceil, comb, sqrt
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from tbptt_jax.errors import UserError

SLACK = 1.15
"""How much more work a schedule of larger blocks may be: their steps are taken back by one wide product."""


class Schedule(NamedTuple):
    """How a sequence is taken back: `head` steps, and then `blocks` of `size` steps."""

    head: int
    size: int
    blocks: int
    slots: int
    first: np.ndarray
    """`[blocks]`: into which slot the forward pass puts the state before each block; −1: none."""
    moves: np.ndarray
    """`[moves, 4]`, in order: the slot from which to load the state (−1: go on from the one at hand), the block,
    whether it is taken back (else it is run forward), and the slot to put the state into after it (−1: none)."""

    def place(self, block: Any) -> Any:
        """The step that a block begins with."""
        return self.head + self.size * block

    @property
    def again(self) -> int:
        """How many steps are run forward again, besides those that the way back itself runs."""
        forward = int(np.sum(self.moves[:, 2] == 0))
        return self.size * forward + self.blocks * (self.size - 1) + max(0, self.head - 1)

    @property
    def states(self) -> int:
        """How many states are kept at once at most, besides the one at hand."""
        return self.slots + self.size - 1 + (self.head > 0)


def kept(states: int | str | None, length: int) -> int | None:
    """How many states of a sequence are kept: a number of them, "sqrt" for 2 √T, with which each step runs forward
    about once more, or None for all."""
    if states is None:
        return None
    if states == "sqrt":
        return min(length, 2 * ceil(sqrt(length)))
    if isinstance(states, bool) or not isinstance(states, Integral) or states < 1:
        raise UserError(f'states: a whole number of at least 1, or "sqrt", is needed, got {states!r}')
    return min(int(states), length)


def reach(states: int, passes: int) -> int:
    """β(s, r): how many blocks can be taken back."""
    return comb(states + passes, states) if passes >= 0 else 0


def advances(count: int, states: int) -> int:
    """The fewest blocks that are run forward to take `count` of them back, the first state being one of those kept."""
    passes = next(r for r in range(count) if reach(states, r) >= count)
    return passes * count - reach(states + 1, passes - 1)


def split(count: int, states: int) -> int:
    """Behind how many blocks to keep the next state."""
    passes = next(r for r in range(count) if reach(states, r) >= count)
    return max(1, min(reach(states, passes - 1), count - reach(states - 1, passes - 1)))


@cache
def schedule(length: int, states: int) -> Schedule:
    """The schedule of a sequence that keeps at most so many states besides the one at hand."""
    best: dict[int, int] = {}
    for size in range(1, min(states, length) + 1):
        count, head = divmod(length, size)
        slots = states - (size - 1) - (head > 0)
        if slots >= 1:
            best[size] = size * advances(count, min(slots, count)) + count * (size - 1)
    least = min(best.values())
    size = max(size for size, work in best.items() if work <= SLACK * least)
    count, head = divmod(length, size)
    slots = min(states - (size - 1) - (head > 0), count)
    first, moves = np.full(count, -1), []
    first[0] = 0

    def go(slot: int, start: int, stop: int, back: bool, store: int) -> None:
        """Load, run forward to `stop`, and take the block there back or store."""
        path = [*range(start, stop), stop] if back else [*range(start, stop)]
        for block in path:
            is_last = block == path[-1]
            moves.append((slot if block == start else -1, block, int(back and is_last), store if is_last else -1))

    waiting = [(0, 0, count, True)]  # (slot of the state before the first block, first block, last + 1, on the way out)
    while waiting:
        slot, start, stop, outward = waiting.pop()
        blocks, free = stop - start, slots - slot
        if blocks == 1:
            go(slot, start, start, True, -1)
        elif free == 1:
            for block in reversed(range(start, stop)):
                go(slot, start, block, True, -1)
        else:
            middle = start + split(blocks, free)
            if outward:
                first[middle] = slot + 1
            else:
                go(slot, start, middle, False, slot + 1)
            waiting += [(slot, start, middle, False), (slot + 1, middle, stop, outward)]
    return Schedule(head, size, count, slots, first, np.array(moves))
