"""Four ways to cut the derivative of a scan, each with the order of computation that suits it.

A cut turns the pullbacks of all steps into credits: for every step t the credit on h_t that comes from later steps,
`[T, ...]`, and the credit on the initial state. `y_bar[t]` is the cotangent of what step t put out, `final_bar` that of
the last state, which counts as a loss at the last step. A loss that sees the first step sees the initial state.
Forwards, a cut turns the pushes of all steps and `direct[t]`, how the parameters move h_t through step t alone, into
perturbations of the outputs and the last state: the transpose of the same map.

    Gates(values)            δ_{t-1} = gate_t · Jᵀ(δ_t, y_bar_t)         one step after the other
    Blocks(depth, stride)    losses in blocks, each carried `depth` steps   blocks side by side, `depth` deep
    Lags(tau)                D ← shift(Jᵀ(D, y_bar)), τ − 1 times         all steps side by side, τ deep
    InFlight(left, ...)      blocks or lags, of which few states are kept   step by step, several credits side by side

Their numbers are leaves of pytrees, and so of no declared type: JAX puts other things in their place.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.gradients.cuts.cut import KeepsAll, Stepwise, add, where, zeros_like
from tbptt_jax.gradients.cuts.gate import scale
from tbptt_jax.gradients.cuts.in_flight import InFlight, in_flight
from tbptt_jax.gradients.cuts.linearize import Pullbacks, Pushes


@partial(jax.tree_util.register_dataclass, data_fields=["gates"], meta_fields=["axis", "states"])
@dataclass(frozen=True)
class Gates(KeepsAll, Stepwise):
    """A factor on the credit that each step passes back: `[T]`, or `[T, B]` over an axis of the state.

    None is a gate of 1 everywhere: full backpropagation. With `states`, so many are kept at once at most besides the
    one at hand, and the others are made again when they are needed.
    """

    gates: Any
    axis: int = 0
    states: int | None = None

    def along(self, axis: int) -> "Gates":
        return Gates(self.gates, axis, self.states)

    def as_gates(self, length: int) -> Array:
        return jnp.ones(length) if self.gates is None else self.gates

    def stepwise(self, states: int, length: int) -> "Gates":
        return replace(self, states=states)

    @property
    def is_exact(self) -> bool:
        return self.gates is None

    def passed(self, moved: list) -> list:
        """Credits, or perturbations, after one gate: `gates` of a single step."""
        return moved if self.gates is None else [scale(m, self.gates, self.axis) for m in moved]

    def credits(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list]:
        def back(credit, step):
            saved, y_bar, gate = step
            return Gates(gate, self.axis).passed(pullbacks.step(saved, credit, y_bar)), credit

        steps = (pullbacks.saved, ys_bar, self.gates)
        initial, credits = lax.scan(back, final_bar, steps, pullbacks.length, reverse=True)
        return credits, initial

    def perturbations(self, pushes: Pushes, init_dot: list, direct: list, ys_dot: list) -> tuple[list, list]:
        def forth(moved, step):
            saved, own, y_dot, gate = step
            passed, seen = pushes.step(saved, Gates(gate, self.axis).passed(moved))
            return add(passed, own), add(seen, y_dot)

        return lax.scan(forth, init_dot, (pushes.saved, direct, ys_dot, self.gates), pushes.length)

    def push(self, step: Callable, at: tuple, moving: tuple[list, list, list]) -> tuple[list, list]:
        own, moved, x = moving
        return jax.jvp(step, at, (own, self.passed(moved), x))[1]


@partial(jax.tree_util.register_dataclass, data_fields=["offset"], meta_fields=["depth", "stride", "whole"])
@dataclass(frozen=True)
class Blocks(KeepsAll):
    """The losses in blocks of `stride` steps, each block's credit carried back through `depth` steps, at most.

    Blocks end at the steps offset + stride, offset + 2·stride, ...; one that ends at `offset` itself comes first where
    the offset may be other than 0 (`whole` False). With depth = stride, losses and credit share their segment: this is
    `Gates` with a 0 before every segment, depth deep instead of T deep.
    """

    depth: int
    stride: int
    offset: Any = 0
    whole: bool = True

    def as_gates(self, length: int) -> Array | None:
        step = jnp.arange(length)
        cuts = ((step - self.offset) % self.stride == 0) & (step > 0)
        return 1.0 - cuts if self.depth == self.stride else None

    def stepwise(self, states: int, length: int) -> Gates | InFlight:
        if self.depth == self.stride:
            return Gates(self.as_gates(length), states=states)
        return in_flight(self.depth, self.stride, self.offset, length, states)

    def credits(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list]:
        length = pullbacks.length
        _, inside, _, at = self.places(length)
        _, initial, (credits, _) = self.walk(pullbacks, final_bar, ys_bar)
        return [zeros_like(end, (length,)).at[at].add(where(inside, c)) for c, end in zip(credits, final_bar)], initial

    def pull(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list, list]:
        length = pullbacks.length
        _, inside, _, at = self.places(length)
        consts_bar, initial, (_, xs_bar) = self.walk(pullbacks, final_bar, ys_bar)
        there = [zeros_like(x[0, 0], (length,)).at[at].add(where(inside, x)) for x in xs_bar]
        return consts_bar, initial, there

    def walk(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list, tuple[list, list]]:
        """Back through all blocks side by side: what consts receive, the credit on the initial state, and of each row
        of steps `[depth, blocks, ...]` the credits and what the inputs receive."""
        length = pullbacks.length
        steps, inside, own, at = self.places(length)
        of_row = self.rows(length, at, (pullbacks.saved, ys_bar))

        def back(carry, row):
            credit, consts_bar, initial = carry
            number, steps, inside, own, ends = row
            saved, y_bar = of_row(number)
            credit = [where(inside, c + where(ends, end[None])) for c, end in zip(credit, final_bar)]
            more, passed, x_bar = pullbacks.side_by_side(saved, credit, [where(own, y) for y in y_bar])
            initial = [i + jnp.sum(where(steps == 0, p), axis=0) for i, p in zip(initial, passed)]
            return (passed, add(consts_bar, more), initial), (credit, x_bar)

        nothing = [zeros_like(end, steps.shape[1:]) for end in final_bar]
        start = nothing, [zeros_like(leaf) for leaf in pullbacks.consts], [zeros_like(end) for end in final_bar]
        rows = jnp.arange(len(steps)), steps, inside, own, own & (at == length - 1)
        (_, consts_bar, initial), by_row = lax.scan(back, start, rows)
        return consts_bar, initial, by_row

    def rows(self, length: int, at: Array, stacked: PyTree) -> Callable:
        """A function of a row's number: what stands at its steps."""
        if self.whole and self.depth == self.stride and isinstance(self.offset, int) and length % self.stride == 0:
            last, shape = self.depth - 1, (length // self.depth, self.depth)
            blocks = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), stacked)
            return lambda row: jax.tree.map(lambda leaf: leaf[:, last - row], blocks)
        return lambda row: jax.tree.map(lambda leaf: leaf[at[row]], stacked)

    def perturbations(self, pushes: Pushes, init_dot: list, direct: list, ys_dot: list) -> tuple[list, list]:
        length = pushes.length
        steps, inside, own, at = (part[::-1] for part in self.places(length))

        def forth(moved, row):
            inside, own, first, ends, saved, direct = row
            moved = [m + where(first, start[None]) for m, start in zip(moved, init_dot)]
            passed, seen = pushes.side_by_side(saved, moved)
            moved = [where(inside, m) for m in add(passed, direct)]
            return moved, ([where(own, y) for y in seen], [jnp.sum(where(ends, m), axis=0) for m in moved])

        saved, direct = jax.tree.map(lambda leaf: leaf[at], (pushes.saved, direct))
        nothing = [zeros_like(start, steps.shape[1:]) for start in init_dot]
        rows = (inside, own, steps == 0, own & (at == length - 1), saved, direct)
        _, (seen, ends) = lax.scan(forth, nothing, rows)
        ys_dot = [y.at[at].add(s) for y, s in zip(ys_dot, seen)]
        return [jnp.sum(end, axis=0) for end in ends], ys_dot

    def places(self, length: int) -> tuple[Array, Array, Array, Array]:
        """Of each block `[depth, blocks]`, from its end back: its steps, which of them there are, at which of them it
        has losses of its own, and the steps again, moved inside."""
        count = -(-length // self.stride) + (not self.whole)
        last = self.offset + self.stride * (jnp.arange(count) + self.whole) - 1  # each block's last step, from 0
        steps = last - jnp.arange(min(self.depth, length + self.stride))[:, None]
        inside = (steps >= 0) & (steps < length)
        own = inside & (jnp.arange(len(steps)) < self.stride)[:, None]
        return steps, inside, own, jnp.clip(steps, 0, length - 1)


@partial(jax.tree_util.register_dataclass, data_fields=["tau", "weights"], meta_fields=[])
@dataclass(frozen=True)
class Lags(KeepsAll):
    """Every loss sees the lags 0..tau−1 and no more. A tau that is traced serves every tau with one compilation.

    `weights` `[T]`, if given, are factors on the lags; the first is 1.
    """

    tau: Any
    weights: Any = None

    def stepwise(self, states: int, length: int) -> InFlight | None:
        if self.weights is not None or not isinstance(self.tau, int | np.integer):
            return None
        return in_flight(int(self.tau), 1, 0, length, states)

    def credits(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list]:
        def look_back(turn, credits):
            """What enters now is carried over all the turns that are left, this one included: so many lags."""
            lag = turns - turn
            arriving = pullbacks.every_step(credits, self.weighted(ys_bar, lag))
            ends = self.weighted(final_bar, lag - 1)
            return [jnp.concatenate([a[1:], end[None]]) for a, end in zip(arriving, ends)]

        length = pullbacks.length
        turns = self.turns(length)
        last_only = [zeros_like(end, (length,)).at[-1].set(end) for end in self.weighted(final_bar, turns)]
        credits = lax.fori_loop(0, turns, look_back, last_only)
        first = jax.tree.map(lambda leaf: leaf[0], (pullbacks.saved, credits, ys_bar))
        return credits, pullbacks.step(*first)

    def perturbations(self, pushes: Pushes, init_dot: list, direct: list, ys_dot: list) -> tuple[list, list]:
        def look_on(lag, carried):
            """`moved[t]` is what step t − lag + 1 did to h_t; it goes on by one step, and is seen there."""
            moved, ys_dot, final_dot = carried
            before = [jnp.concatenate([zeros_like(m[:1]), m[:-1]]) for m in moved]
            moved, seen = pushes.every_step(before)
            final_dot = add(final_dot, self.weighted([m[-1] for m in moved], lag))
            return moved, add(ys_dot, self.weighted(seen, lag)), final_dot

        saved = jax.tree.map(lambda leaf: leaf[0], pushes.saved)
        started, seen = pushes.step(saved, init_dot)  # what sees the first step sees the initial state
        direct = [d.at[0].add(s) for d, s in zip(direct, started)]
        ys_dot = [y.at[0].add(s) for y, s in zip(ys_dot, seen)]
        final_dot = self.weighted([d[-1] for d in direct], 0)
        turns = self.turns(pushes.length)
        _, ys_dot, final_dot = lax.fori_loop(1, turns + 1, look_on, (direct, ys_dot, final_dot))
        return final_dot, ys_dot

    def weighted(self, leaves: list, lag: Any) -> list:
        """The leaves, times the weight of a lag."""
        return leaves if self.weights is None else [leaf * self.weights[lag].astype(leaf.dtype) for leaf in leaves]

    def turns(self, length: int) -> Any:
        """How many steps a loss sees besides its own."""
        return (min if isinstance(self.tau, int) else jnp.minimum)(self.tau, length) - 1


Cut = Gates | Blocks | Lags | InFlight


class Truncates(ABC):
    """Whatever can say how the backward pass of a sequence is cut: what `scan` takes as its `truncation`."""

    learns: ClassVar[bool] = False
    """Whether more than a cut is needed, which is learned from chunk to chunk; `scan` refuses it."""
    sees_inputs: ClassVar[bool] = False
    """Whether the cut depends on what the loop reads: `cut` takes `inputs` then, with leaves `[T, B, ...]`."""
    sees_states: ClassVar[bool] = False
    """Whether it depends on the states that the steps start from: `cut` takes `states` then, with leaves `[T, B, ...]`.
    They are computed beforehand, by one more forward pass."""

    parallel: ClassVar[Any] = False
    """Whether it makes all steps of a linear recurrence at once; `scan` refuses it, since it cannot know that a step is
    linear."""

    @abstractmethod
    def cut(self, key: Array | None, length: int, batch_size: int | None) -> Cut:
        """The cut of one sequence of `length` steps; a batch size of None asks for one that is not batched."""

    def cut_seeing(
        self, inputs: PyTree, states: Callable[[], PyTree], key: Array | None, length: int, batch_size: int | None
    ) -> Cut:
        """The same where the loop reads `inputs` and its steps start from `states()`, leaves `[T, B, ...]`, or
        `[T, ...]` without a batch size."""
        return self.cut(key, length, batch_size, **self.seen(inputs, states, batch_size))

    def seen(self, inputs: PyTree, states: Callable[[], PyTree], batch_size: int | None) -> dict[str, PyTree]:
        """What `cut` is given beside the sizes, as data: no credit flows through it."""
        found = {"inputs": inputs} if self.sees_inputs else {}
        if self.sees_states:
            found["states"] = states()
        if batch_size is None:
            found = jax.tree.map(lambda leaf: leaf[:, None], found)
        return lax.stop_gradient(found)
