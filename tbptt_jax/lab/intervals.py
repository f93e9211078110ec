"""Confidence sequences: intervals that hold the truth at all numbers of seeds at once, so that seeds may be added.

Of the mean of paired differences that are nearly normal, and of their median, whatever their distribution is: where
single networks run away, or outcomes are all or nothing, the mean says little of what usually happens.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

ERROR = 0.05
"""The probability that a claim is decided wrongly, over all its settings and all numbers of seeds."""
WIDTH = 10.0
"""The variance, in squares of the spread over seeds, of the effects that the sequence of the mean is made for."""
FEWEST = 3
"""Seeds without which nothing is decided."""
AVERAGES = ("mean", "median")


class Interval(NamedTuple):
    """Of paired differences in one setting: their average, and an interval of its confidence sequence.

    A sequence holds the truth at all numbers of differences at once, and so does the intersection of its intervals so
    far. It is taken of medians, where what was decided once stays decided. Of means it is not, since the sequence is
    only as good as the differences are normal: more of them must be able to correct what few have said.
    """

    setting: tuple
    differences: np.ndarray
    middle: float
    low: float
    high: float
    error: float
    average: str

    @classmethod
    def of(cls, setting: tuple, differences: np.ndarray, error: float, average: str = "mean") -> "Interval":
        middle = float(np.median(differences)) if average == "median" else mean_of(differences)
        low, high = -math.inf, math.inf
        if average == "median":
            for count in range(FEWEST, len(differences) + 1):
                now = median_between(differences[:count], error)
                low, high = max(low, now[0]), min(high, now[1])
        elif len(differences) >= FEWEST and math.isfinite(middle):
            half = half_width(len(differences), spread_of(differences, middle), error)
            low, high = middle - half, middle + half
        if low > high:  # they have nothing in common, by chance or since seeds are not alike: nothing is said
            low, high = -math.inf, math.inf
        return cls(setting, differences, middle, low, high, error, average)

    @property
    def seeds(self) -> int:
        return len(self.differences)

    @property
    def finite(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def after(self, seeds: int) -> "Interval":
        """What is expected after so many seeds, if they are distributed as those that there are."""
        if self.average == "median":
            ranks = (np.arange(seeds) + 0.5) / seeds
            expected = np.quantile(self.differences, ranks, method="inverted_cdf")
            low, high = median_between(expected, self.error)
            low, high = max(low, self.low), min(high, self.high)
        else:
            half = half_width(seeds, spread_of(self.differences, self.middle), self.error)
            expected, low, high = np.full(seeds, self.middle), self.middle - half, self.middle + half
        return self._replace(differences=expected, low=low, high=high)


def mean_of(differences: np.ndarray) -> float:
    """As `np.mean`, which takes three times as long for a few numbers."""
    return float(differences.sum()) / len(differences) if len(differences) else math.nan


def spread_of(differences: np.ndarray, mean: float) -> float:
    """As `np.std` with `ddof=1`, which takes six times as long."""
    apart = differences - mean
    return math.sqrt(float(apart @ apart) / (len(apart) - 1))


def half_width(count: int, spread: float, error: float) -> float:
    """Of the confidence sequence for a mean of normal differences of unknown variance.

    The likelihood ratio of a normal mixture of effects (in units of the unknown spread, with variance `WIDTH`) against
    the null is a martingale; the means that it has not grown beyond 1 / error against are the interval, at all counts
    at once (Lai 1976; Wang & Ramdas 2023).
    """
    ratio = 1 + count * WIDTH
    growth = (math.sqrt(ratio) / error) ** (2 / count)
    if growth >= ratio:
        return math.inf
    squared = (growth - 1) / (1 - growth / ratio) * (count - 1)
    return math.sqrt(squared / count) * spread


def median_between(differences: np.ndarray, error: float) -> tuple[float, float]:
    """The confidence sequence for a median: the values on whose two sides the differences are not too unequally many.

    Below the median lies each of `count` differences with probability ½. The likelihood ratio of a Beta(½, ½) mixture
    of other probabilities against that, 2^count B(below + ½, count − below + ½) / B(½, ½), is a martingale; the values
    that it has not grown beyond 1 / error against lie between two of the sorted differences (Howard & Ramdas 2022).
    Where the ends are differences that occur more than once, the interval is too wide, never too narrow.
    """
    count = len(differences)
    fewest = fewest_below(count, error)
    if fewest == 0:
        return -math.inf, math.inf
    ordered = np.sort(differences)
    return float(ordered[fewest - 1]), float(ordered[count - fewest])


@cache
def fewest_below(count: int, error: float) -> int:
    """The fewest of `count` differences that the median may have below it, by the martingale."""
    from scipy.special import betaln  # slow to import

    below = np.arange(count // 2 + 1)
    growth = count * math.log(2) + betaln(below + 0.5, count - below + 0.5) - betaln(0.5, 0.5)
    return int(below[growth < -math.log(error)][0])
