"""Tasks around another one, whose batches of training they change at random."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, PyTree

from tbptt_jax.models import Batch
from tbptt_jax.tasks.base import Task


@dataclass(frozen=True)
class Changed(Task):
    """The batches of another task, changed by a subclass; a source is (key, the other task's)."""

    task: Task

    @property
    def streams(self):  # type: ignore[override]
        return self.task.streams

    @property
    def endless(self):  # type: ignore[override]
        return self.task.endless

    @property
    def length(self):  # type: ignore[override]
        return self.task.length

    @abstractmethod
    def noisy(self, batch: Batch, key: Array) -> Batch:
        """A batch as it is trained on."""

    def batch(self, key: Array) -> Batch:
        return self.noisy(self.task.batch(key), key)

    def start(self, key: Array) -> PyTree:
        key, task_key = jax.random.split(key)
        return key, self.task.start(task_key)

    def chunk(self, source: PyTree, steps: Any = None):
        key, now = jax.random.split(source[0])
        batch, fresh, task_source = self.task.chunk(source[1], steps)
        return self.noisy(batch, now), fresh, (key, task_source)
