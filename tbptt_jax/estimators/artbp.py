"""Anticipated reweighted truncated backpropagation: cut less and less readily as a segment grows."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tbptt_jax.estimators.renewal import RenewalEstimator
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class ARTBP(RenewalEstimator):
    """Cut at random, less readily as a segment grows, and reweight where not.

    Cut with probability c_d = alpha / ((alpha − 1) length + d), d the steps since the last cut; else gate 1/(1 − c_d).

    The segments' mean length is `length`; P(a segment is longer than d) falls like d^−alpha, and the variance of the
    length is finite where alpha > 2. Cuts are independent over sequences unless shared. Its mean is the full gradient.
    """

    length: Real
    alpha: Real = 4.0
    shared: bool = False
    reference: ClassVar[str] = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"

    def __post_init__(self):
        self.require("length", "a number above 1", lambda length: length > 1)
        self.require("alpha", "a number above 1", lambda alpha: alpha > 1)

    @classmethod
    def of_length(cls, tau: int | float):
        return cls(tau)

    @property
    def nominal_length(self):
        return self.length

    def cut_probability(self, age: Any):
        return self.alpha / ((self.alpha - 1) * self.length + age)
