"""Blocks of losses, and windows, step by step: so few states are needed at a time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from tbptt_jax.gradients.cuts.cut import Stepwise, where, zeros_like
from tbptt_jax.gradients.cuts.linearize import Pullbacks


@partial(
    jax.tree_util.register_dataclass, data_fields=["left", "first"], meta_fields=["depth", "stride", "count", "states"]
)
@dataclass(frozen=True)
class InFlight(Stepwise):
    """The losses in blocks of `stride` steps, each block's credit carried back through `depth` steps, at most.

    On the way back the credits of `count` blocks are in flight at once, in leaves `[count, ...]`: that of the block at
    hand comes first. A new one joins them where the block at hand begins. `left[t]` says how many steps are left in the
    block of step t, `first[t]` whether that block begins with it, and not with the sequence.
    """

    left: Any
    first: Any
    depth: int
    stride: int
    count: int
    states: int

    is_exact = False

    def stepwise(self, states: int, length: int) -> "InFlight":
        return replace(self, states=states)

    def alive(self) -> Bool[Array, " count"]:
        """Which of the credits in flight reach this step: of a single step."""
        return self.stride * jnp.arange(self.count) + self.left < self.depth

    def entering(self, final_bar: list) -> list:
        return [zeros_like(end, (self.count,)).at[0].set(end) for end in final_bar]

    def leaving(self, carried: list) -> list:
        return [jnp.sum(leaf, axis=0) for leaf in carried]

    def starting(self, init_dot: list) -> list:
        return [jnp.broadcast_to(leaf, (self.count, *leaf.shape)) for leaf in init_dot]

    def ending(self, carried: list) -> list:
        return [leaf[0] for leaf in carried]

    def credits(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list]:
        nothing = [zeros_like(y[0]) for y in ys_bar]

        def back(carried: list, step: tuple) -> tuple[list, list]:
            saved, y_bar, now = step
            carried = [where(now.alive(), leaf) for leaf in carried]
            credit = [jnp.sum(leaf, axis=0) for leaf in carried]
            passed = jax.vmap(lambda one: pullbacks.step(saved, one, nothing))(carried)
            own = pullbacks.step(saved, [zeros_like(leaf) for leaf in credit], y_bar)
            passed = [leaf.at[0].add(one) for leaf, one in zip(passed, own)]
            return [jnp.where(now.first, shifted(leaf, 1), leaf) for leaf in passed], credit

        carried, credits = lax.scan(back, final_bar, (pullbacks.saved, ys_bar, self), reverse=True)
        return credits, carried

    def push(self, step: Callable, at: tuple, moving: tuple[list, list, list]) -> tuple[list, list]:
        own_dot, carried, x_dot = moving
        carried = [jnp.where(self.first, shifted(leaf, -1), leaf) for leaf in carried]
        own, h, x = at

        def all_of_them(own: list, hs: list, x: list) -> tuple[list, list]:
            return jax.vmap(lambda h: step(own, h, x))(hs)

        _, (passed, seen) = jax.jvp(all_of_them, (own, self.starting(h), x), (own_dot, carried, x_dot))
        return [where(self.alive(), leaf) for leaf in passed], self.ending(seen)


def in_flight(depth: int, stride: int, offset: Any, length: int, states: int) -> InFlight:
    """The cut of a sequence whose blocks end at the steps offset, offset + stride, ..."""
    step = jnp.arange(length)
    left = stride - 1 - (step - offset) % stride
    first = (left == stride - 1) & (step > 0)
    count = min(-(-depth // stride), -(-length // stride) + 1)
    return InFlight(left, first, depth, stride, count, states)


def shifted(leaf: Array, by: int) -> Array:
    """Each credit in flight in the place of the next (by 1), or of the one before it (by −1); one falls out."""
    return jnp.roll(leaf, by, axis=0).at[0 if by > 0 else -1].set(0)
