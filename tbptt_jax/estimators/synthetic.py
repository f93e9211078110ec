"""Synthetic gradients: truncations whose critic stands for all that is cut, and for the chunks to come."""

from dataclasses import dataclass, field
from typing import ClassVar

from tbptt_jax.critics.base import Critic
from tbptt_jax.critics.least_squares import Linear
from tbptt_jax.estimators.randomized import Geometric
from tbptt_jax.estimators.segment import Segment

BEYOND = Linear(beyond=True)


@dataclass(frozen=True)
class DNI(Segment):
    """Segments of tau steps, at whose ends a critic stands for the credit of what follows: `segment` with a critic."""

    critic: Critic | None = field(default=BEYOND, kw_only=True)
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = (
        "Jaderberg et al. 2017, Decoupled neural interfaces using synthetic gradients; Marschall et al. 2020"
    )


@dataclass(frozen=True)
class BPLambda(Geometric):
    """Credit that is cut with probability 1 − keep at every step, where a critic stands for it: `geometric` with one.

    On average s + keep (Jᵀδ − s) is passed back, keep in the place of λ.
    """

    critic: Critic | None = field(default=BEYOND, kw_only=True)
    name: ClassVar[str] = "bp_lambda"
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "after Pemberton & Costa 2024, BP(λ): online learning via synthetic gradients"
