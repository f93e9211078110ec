"""A critic predicts what a cut throws away: the credit that later losses have on a state, from the state alone.

A gated estimator that has one passes back s + gate (Jᵀδ − s) in place of gate Jᵀδ. Where gates have mean 1 the mean of
its estimates is the same whatever s is, since gates and states are independent; where they are 0 it is s that stands
for what was cut. A critic learns from chunk to chunk, from the credits that the backward passes make.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Array, Float, PyTree

from tbptt_jax.named import Named
from tbptt_jax.pytree import register


@dataclass(frozen=True, kw_only=True)
class Critic(Named, ABC):
    """Subclass it as a frozen dataclass. States and credits are flattened: H numbers a sequence and step.

    Credits are those of a loss of weight 1, so that they do not depend on how large a batch is. With `beyond`, a critic
    stands at a chunk's end for the credit of the chunks to come, which is biased as far as it is wrong.
    """

    beyond: bool = field(default=False, metadata={"static": True})
    constants = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)

    @abstractmethod
    def init(self, size: int, dtype: Any) -> PyTree:
        """What is learned at first, for states of so many numbers: it predicts 0, unless a critic says otherwise."""

    @abstractmethod
    def predict(self, learned: PyTree, states: Float[Array, "N H"]) -> Float[Array, "N H"]:
        """The credit on each state."""

    @abstractmethod
    def fit(self, learned: PyTree, states: Float[Array, "N H"], credits: Float[Array, "N H"]) -> PyTree:
        """What is learned after one more chunk."""


@dataclass(frozen=True, kw_only=True)
class Frozen(Critic):
    """Another critic as it is now: it learns no more."""

    critic: Critic
    learned: Any

    def init(self, size: int, dtype: Any):
        return self.learned

    def predict(self, learned: PyTree, states: Float[Array, "N H"]):
        return self.critic.predict(learned, states)

    def fit(self, learned: PyTree, states: Float[Array, "N H"], credits: Float[Array, "N H"]):
        return learned
