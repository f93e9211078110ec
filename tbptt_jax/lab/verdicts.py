"""What paired differences say of a claim: the one judge.

A claim of all settings is false where it is false of one, so that each setting may err with the whole of `ERROR` before
it is reproduced (an intersection–union test, Berger 1982); it is contradicted where one setting contradicts it, so that
all their intervals must hold at once and share the error. A claim of a share of the settings lies between the two.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tbptt_jax.lab.intervals import ERROR, FEWEST, Interval

OUTCOMES = ("reproduced", "contradicted", "no difference", "undecided")
MOST = 1000
"""Seeds that are thought of."""


class Verdict(NamedTuple):
    """What became of a claim or a check, what was measured that says so, and how many seeds would decide (0: it is
    decided; −1: no number of seeds is known)."""

    outcome: str
    measured: str
    seeds: int = 0


class Compared(Protocol):
    """What the judge must know of a claim, whose fields say what they mean."""

    @property
    def direction(self) -> str: ...
    @property
    def margin(self) -> float: ...
    @property
    def ratio(self) -> bool: ...
    @property
    def share(self) -> float: ...
    @property
    def average(self) -> str: ...


def decided(claim: Compared, settings: Mapping[tuple, np.ndarray]) -> Verdict:
    """The verdict on the differences of all settings together, in words too."""
    outcome, outcomes, found = judged(claim, settings)
    more = f"; and {len(found) - 6} settings more" if len(found) > 6 else ""
    shown = "; ".join(map(worded(claim), found[:6])) + more
    if len(found) > 1:
        counts = {word: outcomes.count(word) for word in OUTCOMES}
        shown = ", ".join(f"{word} in {n}" for word, n in counts.items() if n) + f" of {len(found)}: {shown}"
    if outcome != "undecided":
        return Verdict(outcome, shown)
    alone = intervals(claim, settings, errors(claim, len(settings))[1])
    needs = [seeds_for(claim, *both) for *both, word in zip(found, alone, outcomes) if word == "undecided"]
    seeds, never = max(needs, default=-1), needs.count(-1)
    if seeds < 0:
        words = f"no number of seeds up to {MOST} would decide, by what is seen"
    elif min(one.seeds for one in found) < 2:
        words = f"{seeds} seeds at least are needed"
    else:
        words = f"about {seeds} seeds would decide" + (f" all but {never} settings" if never else "")
    return Verdict("undecided", f"{shown}; {words}", seeds)


def judged(claim: Compared, settings: Mapping[tuple, np.ndarray]) -> tuple[str, list[str], list[Interval]]:
    """What all settings say together, what each of them says, and the intervals that say so."""
    error, error_alone = errors(claim, len(settings))
    together = intervals(claim, settings, error)
    outcome, outcomes = outcome_of_all(claim, together)
    if outcome == "undecided" and error_alone != error:
        alone = intervals(claim, settings, error_alone)
        outcome_alone, outcomes_alone = outcome_of_all(claim, alone)
        if outcome_alone == "reproduced":
            return outcome_alone, outcomes_alone, alone
    return outcome, outcomes, together


def errors(claim: Compared, settings: int) -> tuple[float, float]:
    """The error probabilities allowed to one setting's interval: where all intervals must hold at once, and where the
    claim is only to be reproduced. A false claim fails in settings − enough + 1 settings at least, and is reproduced by
    mistake only if one of their intervals errs."""
    return ERROR / settings, ERROR / (settings - enough_of(claim, settings) + 1)


def enough_of(claim: Compared, settings: int) -> int:
    """In how many settings a claim must be reproduced."""
    return math.ceil(claim.share * settings)


def intervals(claim: Compared, settings: Mapping[tuple, np.ndarray], error: float) -> list[Interval]:
    return [Interval.of(*setting, error, claim.average) for setting in settings.items()]


def outcome_of_all(claim: Compared, found: Sequence[Interval]) -> tuple[str, list[str]]:
    """What all settings say together, by the share of them that is claimed; and what each says."""
    outcomes = [outcome_of(claim, one) for one in found]
    enough = enough_of(claim, len(found))
    good, bad, even = (outcomes.count(word) for word in OUTCOMES[:3])
    if good >= enough:
        return "reproduced", outcomes
    if bad > len(found) - enough:
        return "contradicted", outcomes
    if even == len(found):
        return "no difference", outcomes
    if good + bad + even == len(found):
        return "contradicted" if bad else "no difference", outcomes
    return "undecided", outcomes


def outcome_of(claim: Compared, one: Interval) -> str:
    """What the interval of one setting says."""
    if not one.finite:
        return "undecided"
    margin = math.log1p(claim.margin) if claim.ratio else claim.margin
    low, high = (one.low, one.high) if claim.direction != "above" else (-one.high, -one.low)
    inside = margin > 0 and -margin <= low and high <= margin
    if claim.direction == "level":
        return "reproduced" if inside else "contradicted" if low > margin or high < -margin else "undecided"
    if high < -margin:
        return "reproduced"
    if inside:
        return "no difference"
    return "contradicted" if low > 0 else "undecided"


def seeds_for(claim: Compared, one: Interval, alone: Interval) -> int:
    """How many seeds would decide a setting, or reproduce the claim in it alone, if further seeds are distributed as
    those so far; −1 where not even `MOST` would. One seed alone tells nothing of the spread, so that a few more than
    `FEWEST` are named."""
    if one.seeds < 2:
        return FEWEST + 2
    for seeds in range(max(FEWEST, one.seeds + 1), MOST + 1):
        decides = outcome_of(claim, one.after(seeds)) != "undecided"
        if decides or outcome_of(claim, alone.after(seeds)) == "reproduced":
            return seeds
    return -1


def worded(claim: Compared) -> Callable[[Interval], str]:
    """An interval in words: a ratio in per cent of the other side."""

    def number(value: float) -> str:
        if not math.isfinite(value):
            return "∞" if value > 0 else "−∞"
        return f"{100 * math.expm1(min(value, 30)):+.3g} %" if claim.ratio else f"{value:+.3g}"

    def words(one: Interval) -> str:
        setting = ", ".join(map(str, one.setting))
        interval = f"[{number(one.low)}, {number(one.high)}]" if one.finite else "no interval yet"
        seeds = f"{one.seeds} seed{'s' if one.seeds > 1 else ''}"
        return f"{setting}{': ' if setting else ''}{number(one.middle)} {interval}, {seeds}"

    return words
