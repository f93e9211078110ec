"""Influence balancing: a linear system whose parameter helps at once and harms in the long run, more than it helped."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.tasks.base import Task


@dataclass(frozen=True)
class Balance(Model):
    """s ← A s + θ c with A half the identity and half the superdiagonal, c +1 in the first `positive` places and −1 in
    the others; the loss is ½ (s¹ − target)². The state starts at 1 and θ at 0.5."""

    size: int = 23
    positive: int = 10

    def init(self, key: Array):
        return {"theta": jnp.array(0.5)}

    def initial_state(self, params: Params, batch_size: int):
        return jnp.ones((batch_size, self.size), params["theta"].dtype)

    def step(self, params: Params, state: PyTree, x: PyTree):
        shifted = jnp.concatenate([state[:, 1:], jnp.zeros_like(state[:, :1])], axis=1)
        signs = jnp.where(jnp.arange(self.size) < self.positive, 1.0, -1.0)
        return (0.5 * state + 0.5 * shifted + params["theta"] * signs).astype(state.dtype)

    def readout(self, params: Params, state: PyTree):
        return state[:, 0]

    def losses(self, output: PyTree, target: PyTree):
        return 0.5 * (output - target) ** 2


@dataclass(frozen=True)
class InfluenceBalancing(Task):
    """Bring the first place of a linear system to 1 by the one parameter that drives all its places.

    At its fixed point s¹ = −6 θ, so that the best θ is −1/6; but over fewer than 41 steps, s¹ rises with θ, and a
    gradient that looks back less far has the wrong sign. The loss is at every step of a chunk but its first `skipped`.
    """

    length: int = 100  # type: ignore[misc]
    skipped: int = 0
    name: ClassVar[str] = "influence_balancing"
    reference: ClassVar[str] = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
    streams = True
    inputs = 1
    outputs = 1

    def __post_init__(self):
        self.require_whole("length", 1)
        self.require_whole("skipped", 0)
        self.require("skipped", f"below length = {self.length}", lambda skipped: skipped < self.length)

    def batch(self, key: Array):
        counted = (jnp.arange(self.length)[:, None] >= self.skipped).astype(float)
        return Batch(jnp.zeros((self.length, 1, 1)), jnp.ones((self.length, 1)), counted)

    def held_out(self, key: Array):
        return self.batch(key)

    def start(self, key: Array):
        return jnp.array(True)

    def chunk(self, source: PyTree, steps: Any = None):
        return self.batch(source), source, jnp.array(False)

    def floors(self):
        return {"best": 0.0}

    def model(self, cell: Any = None, hidden: int = 23, **options: Any):
        if cell is not None or hidden != 23 or options:
            raise UserError("influence_balancing: it has a model of its own, without a choice of cell or size")
        return Balance()
