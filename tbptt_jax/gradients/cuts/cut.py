"""What a cut is: how credit, or a perturbation, goes on from state to state of a scan. `kinds` has those there are."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from tbptt_jax.gradients.cuts.linearize import Pullbacks, Pushes
from tbptt_jax.jax_internals import varying_axes


class AnyCut(ABC):
    """What all cuts can do. What stands here is right for a cut that is the same for all sequences."""

    states: Any = None
    """How many states are kept at once at most besides the one at hand; None: all of them."""

    def along(self, axis: int) -> Any:
        """The same for a state in which the sequences lie along this axis."""
        return self

    def as_gates(self, length: int) -> Array | None:
        """The same cut as gates `[T]` or `[T, B]`; None where no gates are this cut."""
        return None

    def keeping(self, states: int | None, length: int) -> Any:
        """The same cut, which keeps so many states (None: as it is); None where it needs those of all steps."""
        if states is None or (states >= length and self.states is None):
            return self
        return self.stepwise(states, length)

    def stepwise(self, states: int, length: int) -> "Stepwise | None":
        """The same cut, going from step to step, which keeps so many states."""
        return None

    @abstractmethod
    def credits(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list]:
        """The credits of all steps, and that on the initial state."""

    def pull(self, pullbacks: Pullbacks, final_bar: list, ys_bar: list) -> tuple[list, list, list]:
        """What consts receive, the credit on the initial state, and what the inputs receive."""
        credits, initial = self.credits(pullbacks, final_bar, ys_bar)
        consts_bar, _, xs_bar = pullbacks.side_by_side(pullbacks.saved, credits, ys_bar)
        return consts_bar, initial, xs_bar


class KeepsAll(AnyCut):
    """A cut that can be given the states of all steps at once."""

    @abstractmethod
    def perturbations(self, pushes: Pushes, init_dot: list, direct: list, ys_dot: list) -> tuple[list, list]:
        """Perturbations of the last state and of the outputs."""


class Stepwise(AnyCut):
    """A cut that goes from step to step, and so needs the states of a few steps at a time.

    Its leaves `[T, ...]` are sliced like the steps. `credits` and `pull` carry credit back through a stretch of them,
    on the cut of that stretch; `push` takes one step, on the cut of that step. What is carried between them may have
    another shape than a credit.
    """

    is_exact: Any
    """Whether nothing is cut."""

    def entering(self, final_bar: list) -> list:
        """What is carried into the last step."""
        return final_bar

    def leaving(self, carried: list) -> list:
        """The credit on the initial state, of what is carried out of the first step."""
        return carried

    def starting(self, init_dot: list) -> list:
        """The transpose of `leaving`."""
        return init_dot

    def ending(self, carried: list) -> list:
        """The transpose of `entering`."""
        return carried

    @abstractmethod
    def push(self, step: Callable, at: tuple, moving: tuple[list, list, list]) -> tuple[list, list]:
        """Move through one step, on the cut of that step: give what is carried on, and the perturbation of the output.
        `step` is a function of the floats of consts, state and input. They are `at`, and move by `moving`, whose part
        for the state is what is carried."""


def add(a: list, b: list) -> list:
    """Leaf by leaf."""
    return [x + y for x, y in zip(a, b, strict=True)]


def where(mask: Array, leaf: Any):
    """The leaf where the mask, over its leading axes, holds; 0 elsewhere."""
    return jnp.where(mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim)), leaf, 0)


def zeros_like(leaf: Any, stacked: Any = ()):
    """Zeros `[*stacked, *leaf.shape]` that vary over the devices of a `shard_map` as the leaf does."""
    leaf = jnp.asarray(leaf)  # a literal, too, may be a constant of the program
    zeros = jnp.zeros((*stacked, *leaf.shape), leaf.dtype)
    axes = varying_axes(leaf)
    return lax.pcast(zeros, axes, to="varying") if axes else zeros
