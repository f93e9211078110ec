"""A task for models that draw: keys among the inputs of what is trained on."""

from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, PyTree

from tbptt_jax.models import Batch, Model
from tbptt_jax.noise import with_noise
from tbptt_jax.tasks.base import Task


@dataclass(frozen=True)
class Noisy(Task):
    """The batches of another task, with the keys that a model draws by; a source is (key, the other task's)."""

    task: Task
    drawing: Model

    @property
    def streams(self):  # type: ignore[override]
        return self.task.streams

    @property
    def length(self):  # type: ignore[override]
        return self.task.length

    def batch(self, key: Array) -> Batch:
        return with_noise(self.drawing, self.task.batch(key), key)[1]

    def start(self, key: Array) -> PyTree:
        key, task_key = jax.random.split(key)
        return key, self.task.start(task_key)

    def chunk(self, source: PyTree, steps: Any = None):
        key, now = jax.random.split(source[0])
        batch, fresh, task_source = self.task.chunk(source[1], steps)
        return with_noise(self.drawing, batch, now)[1], fresh, (key, task_source)
