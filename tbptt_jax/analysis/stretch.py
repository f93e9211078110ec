"""The memory of a backward pass whose cuts are drawn: the longest stretch of states without a cut, on average.

A stretch is what must be alive at once. Its mean length is not its longest: gates that cut every eighth step on average
keep some twenty states somewhere in a sequence of 64. With a cut before step t + 1 of probability c_t(d) when the
stretch has lasted d steps, P(no stretch is longer than m) follows from a walk over d = 1..m, and the mean longest
stretch is Σ_{m ≥ 0} P(some stretch is longer than m).
"""

from collections.abc import Callable

import numpy as np

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.laws import Fixed, Independent, Patterns, Renewal


def longest_stretch(est: Estimator, length: int) -> float:
    """E[the longest stretch of a sequence of `length` steps that `est` does not cut].

    For a truncation that draws nothing it is its nominal length, the states that each of its losses looks back over.
    """
    law = est.law(length)
    if isinstance(law, Fixed):
        return float(min(est.nominal_length or length, length))
    if isinstance(law, Patterns):
        gates, chances = np.asarray(law.gates), np.asarray(law.probabilities)
        return float(chances @ [longest_run(row) for row in gates])
    if isinstance(law, Independent):
        mean, variance = np.asarray(law.mean, float), np.asarray(law.variance, float)
        keep = mean**2 / np.maximum(mean**2 + variance, np.finfo(float).tiny)  # of gates that are 0 or one other value
        return expected_longest(length, lambda t, ages: np.full(len(ages), 1 - keep[t]))
    if isinstance(law, Renewal):
        cut = np.asarray(law.cut, float)
        return expected_longest(length, lambda t, ages: cut[ages - 1])
    raise UserError(f"longest_stretch: an estimator is needed of which it is known how it cuts, got {est}")


def longest_run(gates: np.ndarray) -> int:
    """The most steps between two gates of 0, the first of which stands before the sequence."""
    starts = np.flatnonzero(gates == 0)
    ends = np.unique([0, *starts, len(gates)])
    return int(np.diff(ends).max())


def expected_longest(length: int, cut: Callable[[int, np.ndarray], np.ndarray]) -> float:
    """Of a walk whose stretch of d steps ends before step t (from 0) with the probability cut(t, d)."""

    def none_is_longer(most: int) -> float:
        ages = np.arange(1, most + 1)
        at_age = np.zeros(most)
        at_age[0] = 1.0
        for t in range(1, length):
            ends = cut(t, ages)
            at_age = np.concatenate([[at_age @ ends], (at_age * (1 - ends))[:-1]])
        return float(at_age.sum())

    return 1.0 + sum(1 - none_is_longer(most) for most in range(1, length))
