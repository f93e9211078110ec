"""Segments of any law of lengths: a cut probability of its own for every age of a segment."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from tbptt_jax.estimators.renewal import RenewalEstimator
from tbptt_jax.jax_internals import is_traced


@dataclass(frozen=True)
class ByAge(RenewalEstimator):
    """Cut a segment with a probability of its own for every age, and reweight where it is not cut.

    A segment that has lasted d steps is cut with probability cuts[d − 1], and with the last of them where it has lasted
    longer. With one number this is `randomized`; with numbers that fall like those of ARTBP it is `artbp`. `of_length`
    makes one that rests: it never cuts in the first half of the mean length, and then cuts as readily at every age.
    `exact.optimal_cuts` gives the numbers of least variance for a batch.
    """

    cuts: Any
    shared: bool = False
    name: ClassVar[str] = "by_age"
    reference: ClassVar[str] = "this package"

    def __post_init__(self):
        allowed = "numbers from 0 to below 1, one at least"
        self.require("cuts", allowed, lambda cuts: cuts.size > 0 and (cuts >= 0) & (cuts < 1))
        if not is_traced(self.cuts):
            object.__setattr__(self, "cuts", tuple(np.atleast_1d(np.asarray(self.cuts, float)).tolist()))

    @classmethod
    def of_length(cls, tau: int | float):
        rest = int((tau - 1) / 2)
        return cls((0.0,) * rest + (1 / (tau - rest),))

    @property
    def nominal_length(self):
        """The mean length of a segment; None where there may be one that never ends."""
        cuts = np.asarray(self.cuts)
        longer = np.cumprod([1.0, *(1 - cuts)])  # than 0, 1, … steps
        return None if cuts[-1] == 0 else float(longer[:-1].sum() + longer[-1] / cuts[-1])

    def cut_probability(self, age: Any):
        cuts = jnp.asarray(self.cuts, float)
        return cuts[jnp.minimum(jnp.asarray(age, int), len(cuts)) - 1]
