"""Text from a model of characters: what it has learned, to be read."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from tbptt_jax.errors import UserError, require_count
from tbptt_jax.leaves import require_random_key
from tbptt_jax.models import Model, Params
from tbptt_jax.tasks.text import Text


def sample_text(
    model: Model,
    params: Params,
    text: Text,
    key: Array,
    *,
    start: str = "the ",
    length: int = 200,
    temperature: float = 1.0,
) -> str:
    """Text that a model goes on with, each character drawn from its softmax and read in turn.

    Args:
        model: The model.
        params: Its parameters.
        text: The task that it was trained on.
        key: What is drawn follows from it.
        start: What it reads first.
        length: How many characters it adds.
        temperature: Below 1 it keeps to what is likely, above 1 it strays from it.

    Returns:
        `start` and what was added.
    """
    if not isinstance(text, Text):
        raise UserError(f"text: a task of text is needed, such as tb.TimeMachine(), got {text!r:.80}")
    require_random_key(key)
    length = require_count("length", length)
    if not temperature > 0:
        raise UserError(f"temperature: a number above 0 is needed, got {temperature!r}")
    vocabulary = text.corpus().vocabulary
    strange = sorted({character for character in start if character not in vocabulary})
    if not start or strange:
        raise UserError(
            f"start: characters of the text are needed, got {start!r}" + (f": no {strange}" if strange else "")
        )
    given = jnp.asarray([vocabulary.index(character) for character in start])
    symbols = continued(model, length, params, given, key, jnp.asarray(float(temperature)))
    return start + "".join(vocabulary[symbol] for symbol in symbols.tolist())


@partial(jax.jit, static_argnames=("model", "length"))
def continued(
    model: Model, length: int, params: Params, given: Int[Array, " S"], key: Array, temperature: Array
) -> Int[Array, " T"]:
    """The symbols that follow those that are given."""

    def read(state: Any, symbol: Array):
        classes = jax.eval_shape(model.readout, params, state).shape[-1]
        state = model.step(params, state, jax.nn.one_hot(symbol[None], classes))
        return state, model.readout(params, state)[0]

    def speak(state_and_odds: Any, key: Array):
        state, odds = state_and_odds
        symbol = 1 + jax.random.categorical(key, odds[1:] / temperature)  # the first is no character
        return read(state, symbol), symbol

    state, odds = lax.scan(read, model.initial_state(params, 1), given)
    return lax.scan(speak, (state, odds[-1]), jax.random.split(key, length))[1]
