"""A stream of random inputs, and the answers of another recurrent network to them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.models import Batch, Model
from tbptt_jax.networks import rnn
from tbptt_jax.tasks.base import Task

HELD_OUT_STEPS = 512


@dataclass(frozen=True)
class Mimic(Task):
    """Give what a teacher gives: a tanh network of `units` units, drawn once from `seed`, which reads the same signs.

    W_hh is orthogonal, scaled to `radius`, so that the teacher's memory fades by about that factor a step. Fresh
    sequences for evaluation last at least 512 steps.
    """

    units: int = 32
    radius: float = 0.95
    seed: int = 0
    length: int = 32  # type: ignore[misc]
    batch_size: int = 32
    reference: ClassVar[str] = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"
    inputs, outputs = 4, 4
    loss = "squared"
    streams = True
    endless = True

    def __post_init__(self):
        for name in ("length", "batch_size", "units"):
            self.require_whole(name, 1)
        self.require_whole("seed", 0)
        self.require("radius", "a number above 0", lambda radius: radius > 0)

    @cached_property
    def teacher(self) -> Model:
        return rnn("tanh", self.inputs, self.units, self.outputs, self.loss, radius=self.radius, orthogonal=True)

    def start(self, key: Array):
        state = self.teacher.initial_state(self.weights(), self.batch_size)
        return (jax.random.split(key, self.batch_size), jnp.array(0), state), jnp.array(True)

    def weights(self) -> PyTree:
        return self.teacher.init(jax.random.key(self.seed))

    def chunk(self, source: PyTree, steps: Any = None):
        (keys, time, state), fresh = source
        batch, states = self.read(keys, time, state, self.length)
        read = self.length if steps is None else steps
        return batch, fresh, ((keys, time + read, jax.tree.map(lambda leaf: leaf[read - 1], states)), jnp.array(False))

    def batch(self, key: Array):
        (keys, time, state), _ = self.start(key)
        return self.read(keys, time, state, max(self.length, HELD_OUT_STEPS))[0]

    def held_out(self, key: Array):
        return self.batch(key)

    def read(self, keys: Array, time: Array, state: PyTree, steps: int) -> tuple[Batch, PyTree]:
        """The steps from `time` on, and the teacher's state after each of them."""

        def signs(time, key):
            return jax.random.rademacher(jax.random.fold_in(key, time), (self.inputs,), float)

        inputs = jax.vmap(jax.vmap(signs, (None, 0)), (0, None))(time + jnp.arange(steps), keys)
        weights = self.weights()

        def step(state, x):
            state = self.teacher.step(weights, state, x)
            return state, state

        _, states = jax.lax.scan(step, state, inputs)
        return Batch(inputs, jax.vmap(self.teacher.readout, (None, 0))(weights, states)), states
