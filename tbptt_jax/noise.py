"""Models whose steps draw at random: dropout inside a cell, noise on its inputs.

Every step of every sequence has a key of its own, which stands among the inputs of its batch. So what is run again
draws what was drawn before, in every estimator, and two gradients of one batch are gradients of one function. A model
is evaluated without keys, and then draws nothing.
"""

from dataclasses import dataclass

import jax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.models import Accompanied, Batch, Model, Params, State, sequence_shape


@dataclass(frozen=True)
class Drawing(Accompanied):
    """A model that draws, with keys: its inputs are (x, the numbers of a key `[B, ...]`), and its steps are those of
    each sequence alone."""

    def step(self, params: Params, state: State, x: PyTree) -> State:
        def of_one(state: State, x: PyTree, numbers: Array) -> State:
            alone = jax.tree.map(lambda leaf: leaf[None], (state, x))
            after = self.model.step(params, *alone, jax.random.wrap_key_data(numbers))  # type: ignore[call-arg]
            return jax.tree.map(lambda leaf: leaf[0], after)

        return jax.vmap(of_one)(state, *x)


def with_noise(model: Model, batch: Batch, key: Array | None) -> tuple[Model, Batch]:
    """A model that draws and its batch, as a pair that draws nothing: what is drawn stands among the inputs.

    It is for `exact` and `cost`, which give a model no key; `gradient`, `measure` and `train` do it themselves.

    Args:
        model: The model; one that does not draw stays as it is.
        batch: Sequences `[T, B, ...]`.
        key: What is drawn follows from it.

    Returns:
        A model that draws nothing, and the batch that it reads.
    """
    if not model.draws:
        return model, batch
    if key is None:
        raise UserError(f"key: {model} draws at random, which needs one, such as jax.random.key(0)")
    usual = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))  # a key of any other kind draws such ones
    numbers = jax.random.bits(key, (*sequence_shape(batch), *usual.shape), usual.dtype)
    return Drawing(model), batch._replace(inputs=(batch.inputs, numbers))


def noise_key(key: Array | None) -> Array | None:
    """The key for what a model draws, made from the key that an estimator draws by."""
    return None if key is None else jax.random.fold_in(key, 2**31 - 1)
