"""Number agreement: a verb far from its subject must be singular or plural as the subject is."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tbptt_jax.models import Batch
from tbptt_jax.tasks.adding import at_the_end
from tbptt_jax.tasks.base import Task

NOUNS, OTHERS = 4, 4  # nouns of each number; words that have none


@dataclass(frozen=True)
class Agreement(Task):
    """Tell at the end of a sentence whether the verb of its subject, the first word, is singular or plural.

    The first word is one of 8 nouns, half of them plural; `distance` words follow, half of them nouns on average that
    are no subjects and whose number is chance, and the rest words without a number.
    """

    distance: int = 10
    batch_size: int = 32
    reference: ClassVar[str] = "Linzen, Dupoux & Goldberg 2016, Assessing the ability of LSTMs to learn syntax"
    inputs = 2 * NOUNS + OTHERS
    outputs = 2

    def __post_init__(self):
        self.require_whole("distance", 1)
        self.require_whole("batch_size", 1)

    @property
    def length(self):
        return self.distance + 1

    def batch(self, key: Array):
        subject_key, noun_key, other_key, kind_key = jax.random.split(key, 4)
        shape = (self.distance, self.batch_size)
        subject = jax.random.randint(subject_key, (1, self.batch_size), 0, 2 * NOUNS)
        nouns = jax.random.randint(noun_key, shape, 0, 2 * NOUNS)
        others = jax.random.randint(other_key, shape, 2 * NOUNS, self.inputs)
        words = jnp.concatenate([subject, jnp.where(jax.random.bernoulli(kind_key, shape=shape), nouns, others)])
        plural = jnp.broadcast_to((subject >= NOUNS).astype(int), words.shape)
        return Batch(jax.nn.one_hot(words, self.inputs), plural, at_the_end(*words.shape))

    def floors(self):
        return {"best": 0.0, "blind": log(2)}
