"""A training run on disk: leaves of a pytree by flax's serialization, in a file that is there whole or not at all."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.files import write_atomically
from tbptt_jax.leaves import is_key


def save(path: Path, run: str, tree: PyTree) -> None:
    """Write a tree, and in words what run it belongs to."""
    from flax import serialization  # slow to import, and not needed where nothing is written

    leaves = {str(i): np.asarray(unwrapped(leaf)) for i, leaf in enumerate(jax.tree.leaves(tree))}
    content = serialization.msgpack_serialize({"run": run, "leaves": leaves})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, hashlib.sha256(content).digest() + content)


def load(path: Path, run: str, like: PyTree) -> PyTree | None:
    """The tree that was saved there, in the shape of `like`; None where there is no file.

    A file of another run is an error; a damaged one is set aside, as PATH.damaged.
    """
    if not path.is_file():
        return None
    from flax import serialization

    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        path.replace(path.with_name(path.name + ".damaged"))
        print(f"checkpoint: {path} is damaged; it is set aside, and the training starts anew", file=sys.stderr)
        return None
    saved = serialization.msgpack_restore(content[32:])
    if saved["run"] != run:
        raise UserError(f"checkpoint: {path} belongs to another run.\n it has  {saved['run']}\n this is {run}")
    leaves, structure = jax.tree.flatten(like)
    shapes = [(unwrapped(leaf).shape, unwrapped(leaf).dtype) for leaf in leaves]
    if shapes != [(saved["leaves"][str(i)].shape, saved["leaves"][str(i)].dtype) for i in range(len(saved["leaves"]))]:
        raise UserError(f"checkpoint: {path} has other arrays than this run")
    found = [wrapped(saved["leaves"][str(i)], leaf) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, found)


def unwrapped(leaf: Any):
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def wrapped(saved: Any, like: Any):
    return jax.random.wrap_key_data(saved, impl=jax.random.key_impl(like)) if is_key(like) else np.array(saved)
