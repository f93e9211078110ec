"""What every task must hold to: the tests behind `tbptt check` of a task."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax.forward import loss
from tbptt_jax.models import sequence_shape
from tbptt_jax.named import Finding
from tbptt_jax.tasks.base import Task


def check(task: Task) -> Iterator[Finding]:
    """Every finding on a task, one after the other; nothing raises but a defect of the check itself."""
    for test in (is_a_value, gives_batches, can_be_read, fits_its_model, knows_its_floors):
        try:
            yield from test(task)
        except Exception as error:
            yield Finding(test.__name__.replace("_", " "), False, f"{type(error).__name__}: {error}".splitlines()[0])


def is_a_value(task: Any):
    frozen = dataclasses.is_dataclass(task) and getattr(type(task), "__dataclass_params__").frozen  # noqa: B009
    yield Finding("it is a frozen dataclass", frozen)
    same = hash(task) == hash(dataclasses.replace(task)) and task == dataclasses.replace(task)
    yield Finding("it can be hashed and compared", same)


def gives_batches(task: Any):
    draw = jax.jit(lambda key: (task.batch(key), task.held_out(key)))
    drawn = draw(jax.random.key(0))
    for name, batch in zip(("batches", "held-out sequences"), drawn):
        length, batch_size = sequence_shape(batch)
        yield Finding(f"its {name} are [T, B, ...]", True, f"T = {length}, B = {batch_size}")
    yield Finding("it draws the same for the same key", identical(drawn, draw(jax.random.key(0))))


def can_be_read(task: Any):
    start = jax.jit(task.start)(jax.random.key(1))
    read = jax.jit(lambda source: task.chunk(source))
    first, fresh, source = read(start)
    second, fresh_again, later = read(source)
    yield Finding("its first chunk starts afresh", bool(fresh))
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in ((first, source), (second, later))]
    yield Finding("its chunks and sources keep their shapes", shapes[0] == shapes[1])
    length = sequence_shape(first)[0]
    yield Finding("it says its length", length == task.length, f"length {task.length}, steps {length}")
    if not task.streams:
        yield Finding("every episode starts afresh", bool(fresh_again))
        return
    if task.endless:
        yield Finding("no stream starts again, as it says", not bool(fresh_again))
    in_parts, _, _ = read(jax.jit(lambda source: task.chunk(source, jnp.array(1))[2])(start))
    whole, part = (jax.tree.map(np.asarray, batch.inputs) for batch in (first, in_parts))
    moved = jax.tree.map(lambda leaf: leaf[1:], whole), jax.tree.map(lambda leaf: leaf[:-1], part)
    yield Finding("it can be read on after any of a chunk's steps", identical(*moved))


def fits_its_model(task: Any):
    model = task.model()
    value = jax.jit(lambda key: loss(model, model.init(key), task.batch(key)))(jax.random.key(2))
    yield Finding("its model has a finite loss on it", bool(np.isfinite(value)), f"{value:.4g}")


def knows_its_floors(task: Any):
    floors = task.floors()
    fine = all(isinstance(value, float) and np.isfinite(value) for value in floors.values())
    yield Finding("its floors are finite numbers", fine, ", ".join(f"{k} {v:.4g}" for k, v in floors.items()))


def identical(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
