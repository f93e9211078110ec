"""Regularisers that draw a number for every hidden unit at every step of training: dropout, and zoneout.

The numbers are part of a task's inputs, so that the forward pass and what is run again of it see the same ones.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.models import Accompanied, Batch, Model, Params, State, sequence_shape
from tbptt_jax.tasks.changed import Changed


@dataclass(frozen=True)
class Masked(Changed):
    """A task whose inputs are (x, masks `[T, B, H]`): in training `scale` with probability `keep`, else 0; where it is
    evaluated, the mean of that. A subclass says what a model does with them."""

    keep: float
    hidden: int
    scale: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        self.require("keep", "a probability from 0 to 1", lambda keep: (keep >= 0) & (keep <= 1))
        self.require_whole("hidden", 1)

    def model(self, cell: Any = "tanh", hidden: int | None = None, **options: Any) -> Model:
        if hidden not in (None, self.hidden):
            raise UserError(f"hidden: the masks are of {self.hidden} units, got {hidden}")
        model = self.task.model(cell, self.hidden, **options)
        if model.draws:
            raise UserError(f"cell: one that draws nothing of its own is needed beside masks, got {cell!r}")
        return model

    def held_out(self, key: Array) -> Batch:
        return self.calm(self.task.held_out(key))

    def noisy(self, batch: Batch, key: Array) -> Batch:
        kept = jax.random.bernoulli(key, self.keep, (*sequence_shape(batch), self.hidden))
        return batch._replace(inputs=(batch.inputs, self.scale * kept.astype(float)))

    def calm(self, batch: Batch) -> Batch:
        mean = jnp.full((*sequence_shape(batch), self.hidden), self.scale * self.keep)
        return batch._replace(inputs=(batch.inputs, mean))

    def floors(self) -> dict[str, float]:
        return self.task.floors()


@dataclass(frozen=True)
class ZoneoutModel(Accompanied):
    """A model whose state keeps the part of each unit's old value that its inputs (x, kept `[B, H]`) say."""

    def step(self, params: Params, state: State, x: PyTree) -> State:
        x, kept = x
        new = self.model.step(params, state, x)
        return jax.tree.map(lambda new, old: (kept * old + (1 - kept) * new).astype(new.dtype), new, state)


class Zoneout(Masked):
    """Units keep their old value with probability `keep` in training, and by that part on average where it is
    evaluated (Krueger et al. 2017)."""

    def model(self, cell: Any = "tanh", hidden: int | None = None, **options: Any) -> Model:
        return ZoneoutModel(super().model(cell, hidden, **options))


@dataclass(frozen=True)
class DropoutModel(Accompanied):
    """A model whose readout sees its state times the second part of its inputs (x, m `[B, H]`): the mask of a step is
    carried beside its state."""

    hidden: int

    def initial_state(self, params: Params, batch_size: int) -> State:
        return self.model.initial_state(params, batch_size), jnp.ones((batch_size, self.hidden))

    def step(self, params: Params, state: State, x: PyTree) -> State:
        x, mask = x
        return self.model.step(params, state[0], x), mask.astype(state[1].dtype)

    def readout(self, params: Params, state: State) -> PyTree:
        return self.model.readout(params, jax.tree.map(lambda leaf: leaf * state[1], state[0]))


class Dropout(Masked):
    """The readout sees each unit's value divided by `keep` with that probability, else 0 (Zaremba et al. 2014)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("keep", "a probability above 0", lambda keep: keep > 0)

    @property
    def scale(self) -> float:  # type: ignore[override]
        return 1 / self.keep

    def model(self, cell: Any = "tanh", hidden: int | None = None, **options: Any) -> Model:
        return DropoutModel(super().model(cell, hidden, **options), self.hidden)
