"""A stream of coin tosses whose labels hang on two earlier ones, at known distances."""

from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from tbptt_jax.models import Batch
from tbptt_jax.tasks.base import Task

HELD_OUT_STEPS = 512


@dataclass(frozen=True)
class DelayedSum(Task):
    """Predict labels that are 1 with probability ½ + ½ x_{t−near} − ¼ x_{t−far}, x a fair coin of 0 and 1.

    A predictor that knows both tosses has the entropy that is left, .454 nats; one that knows the nearer alone .519;
    one that knows neither .662. Fresh sequences for evaluation last at least 512 steps, and their first `far` steps,
    which look back to before the beginning, have weight 0.
    """

    near: int = 3
    far: int = 8
    length: int = 32  # type: ignore[misc]
    batch_size: int = 32
    name: ClassVar[str] = "delayed_sum"
    reference: ClassVar[str] = "Pitis 2016, Recurrent neural networks in TensorFlow, its toy problem"
    inputs, outputs = 2, 2
    streams = True
    endless = True

    def __post_init__(self):
        for name in ("length", "batch_size", "near"):
            self.require_whole(name, 1)
        self.require_whole("far", self.near + 1)

    def start(self, key: Array):
        return (jax.random.split(key, self.batch_size), jnp.array(0)), jnp.array(True)

    def chunk(self, source: PyTree, steps: Any = None):
        (keys, time), fresh = source
        batch = self.read(keys, time, self.length)
        return batch, fresh, ((keys, time + (self.length if steps is None else steps)), jnp.array(False))

    def batch(self, key: Array):
        steps = max(self.length, HELD_OUT_STEPS)
        batch = self.read(jax.random.split(key, self.batch_size), jnp.array(0), steps)
        seen = jnp.arange(steps)[:, None] >= self.far
        return batch._replace(weights=jnp.broadcast_to(seen, (steps, self.batch_size)).astype(float))

    def held_out(self, key: Array):
        return self.batch(key)

    def read(self, keys: Array, time: Array, steps: int) -> Batch:
        """The steps from `time` on; tosses and labels follow from a sequence's key and the step's number."""
        tosses = draws(keys, time - self.far + jnp.arange(steps + self.far), 2)
        heads = (tosses[..., 0] < 0.5).astype(int)
        now, near, far = (heads[self.far - back :][:steps] for back in (0, self.near, self.far))
        chance = 0.5 + 0.5 * near - 0.25 * far
        labels = tosses[self.far :, ..., 1] < chance
        return Batch(jax.nn.one_hot(now, 2), labels.astype(int))

    def floors(self):
        chances = [0.5 + 0.5 * near - 0.25 * far for near in (0, 1) for far in (0, 1)]
        return {"best": sum(map(entropy, chances)) / 4, "blind": entropy(sum(chances) / 4)}


def draws(keys: Array, times: Int[Array, " T"], count: int) -> Array:
    """Uniform numbers `[T, B, count]` of each sequence at each time."""

    def one(time, key):
        return jax.random.uniform(jax.random.fold_in(key, time), (count,))

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(times, keys)


def entropy(chance: float) -> float:
    """Of a toss that is heads with this chance, in nats."""
    return -sum(p * log(p) for p in (chance, 1 - chance) if p)
