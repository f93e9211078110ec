"""A task says where batches come from: episodes, each a fresh batch of whole sequences, or streams, endless or not.

A stream is read in chunks, and a model's state is carried from one to the next. Everything is a pure function of keys
and sources and runs inside a compiled program, so batches are made where the model is trained.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from tbptt_jax.models import Batch, Model
from tbptt_jax.named import Named
from tbptt_jax.networks import rnn

Source = PyTree
HELD_OUT_BATCHES = 32


class Task(Named, ABC):
    """Where batches come from. A subclass is a frozen dataclass.

    With the sizes `inputs`, `outputs` and `length` and a `batch` it is a task of episodes; for a stream give
    `streams = True`, `start` and `chunk` too, and `endless = True` if it has no end.
    """

    inputs: ClassVar[Any]
    """How many numbers a model reads at a step; it may be a property."""
    outputs: ClassVar[Any]
    """How many numbers the loss reads of it."""
    length: ClassVar[Any]
    """How many steps an episode has, or a chunk of a stream; a field or a property."""
    batch_size: int | None = None
    """How many sequences a batch has, a field; None where that cannot be chosen."""
    loss: ClassVar[Any] = "softmax"
    """As `rnn` takes it."""
    streams: ClassVar[bool] = False
    """Whether a model's state is carried from chunk to chunk."""
    endless: ClassVar[bool] = False
    """Whether no stream starts but with the first chunk, so that training need not look. A subclass with a `chunk` of
    its own says so anew."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "chunk" in vars(cls) and "endless" not in vars(cls):
            cls.endless = False

    @abstractmethod
    def batch(self, key: Array) -> Batch:
        """Fresh sequences, from their beginning."""

    def held_out(self, key: Array) -> Batch:
        """Fresh sequences to evaluate on, as many as in 32 batches; other data than the training's, where data are
        given and not drawn."""
        batches = jax.vmap(self.batch, out_axes=1)(jax.random.split(key, HELD_OUT_BATCHES))
        return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:]), batches)

    def start(self, key: Array) -> Source:
        """Where training starts to read."""
        return key

    def chunk(self, source: Source, steps: Array | int | None = None) -> tuple[Batch, Bool[Array, ""], Source]:
        """The next chunk, whether a new stream starts with it, and where to read on, after `steps` of its steps (None:
        all). An episode is read whole."""
        next_source, now = jax.random.split(source)
        return self.batch(now), jnp.array(True), next_source

    def floors(self) -> dict[str, float]:
        """Losses of predictors that are known exactly, in the units of the loss: "best", the smallest that any model
        can have, and "blind", that of the best one that cannot recall what it has to."""
        return {}

    def data(self) -> dict[str, str]:
        """SHA-256 of the contents of the files that are read, by name: a result is of these and of no others."""
        return {}

    def model(self, cell: Any = "tanh", hidden: int = 32, **options: Any) -> Model:
        """A recurrent network that fits the task; options as for `rnn`."""
        return rnn(cell, self.inputs, hidden, self.outputs, self.loss, **options)
