"""Frozen dataclasses as pytrees: numbers are leaves; text, flags and what is marked belong to the structure.

A field is marked by `field(metadata={"static": True})`, or by its name among the instance's `constants`.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

Whole = int | np.integer | Array
Real = float | int | np.number | Array


def register(cls: type) -> None:
    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, partial(unflatten, cls))


def is_leaf(est: Any, field: Any, value: Any) -> bool:
    """Whether a field's value is a leaf."""
    static = isinstance(value, str | bool | tuple | type(None)) or callable(value)
    return not static and not field.metadata.get("static", False) and field.name not in est.constants


def flatten_with_keys(est: Any):
    fields = [(field, getattr(est, field.name)) for field in dataclasses.fields(est)]
    leaves = [(field.name, value) for field, value in fields if is_leaf(est, field, value)]
    rest = tuple((field.name, value) for field, value in fields if not is_leaf(est, field, value))
    return [(jax.tree_util.GetAttrKey(name), value) for name, value in leaves], (tuple(n for n, _ in leaves), rest)


def unflatten(cls: type, names_and_rest: Any, leaves: Any):
    names, rest = names_and_rest
    est: Any = object.__new__(cls)  # not by __init__: leaves may be tracers, or anything that jax.tree.map returns
    for name, value in (*zip(names, leaves), *rest):
        object.__setattr__(est, name, value)
    return est
