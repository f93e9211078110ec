"""Truncation in overlapping blocks: every k2 steps, backpropagate through the last k1."""

from dataclasses import dataclass, field
from typing import ClassVar

from tbptt_jax.estimators.base import LookingBack
from tbptt_jax.gradients.cuts.kinds import Blocks, Gates


@dataclass(frozen=True)
class Buffered(LookingBack):
    """Every k2 steps, their losses are backpropagated through the last k1 ≥ k2 steps.

    A loss sees its own step and between k1 − k2 and k1 − 1 steps before it. k1 = k2 = τ is `segment(τ)`, k2 = 1 is
    `window(k1)`; k1 = 2τ, k2 = τ is what Aicher et al. call buffered. Both are constants of the compiled program.
    """

    k1: int = field(metadata={"static": True})
    k2: int = field(metadata={"static": True})
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Williams & Peng 1990, An efficient gradient-based algorithm: BPTT(h; h')"

    def __post_init__(self):
        self.require_whole("k2", 1)
        self.require_whole("k1", 1)
        self.require("k1", f"at least k2 = {self.k2}", lambda k1: k1 >= self.k2)

    @classmethod
    def of_length(cls, tau: int):
        return cls(tau, (tau + 1) // 2)

    @property
    def nominal_length(self):
        return self.k1

    def keeping_all(self, length: int):
        return Gates(None) if self.k2 >= length else Blocks(self.k1, self.k2)
