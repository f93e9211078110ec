"""The one judge: what it says when nothing is there, when something is, and how often it is wrong."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from tbptt_jax.errors import UserError
from tbptt_jax.lab.claims import Check, Claim, Side
from tbptt_jax.lab.deciding import seconds_to_decide
from tbptt_jax.lab.intervals import ERROR, Interval, half_width, median_between
from tbptt_jax.lab.verdicts import decided, judged
from tests.tiers import cases, thorough

OURS, THEIRS = Side("ours", pl.col("method") == "ours"), Side("theirs", pl.col("method") == "theirs")
BELOW = Claim("Ours is smaller.", "here", "loss", OURS, THEIRS)
CAP = 40


def few(experiments):
    """Of experiments with a rate of 5 %, more are wrong with a probability below 1e-3."""
    return int(binom.isf(1e-3, experiments, ERROR))


def table(ours, theirs, **more):
    rows = [
        {"method": method, "seed": seed, "loss": float(loss)} | more
        for method, losses in (("ours", ours), ("theirs", theirs))
        for seed, loss in enumerate(losses)
    ]
    return pl.DataFrame(rows)


def outcomes_on_the_way(claim, differences):
    """What is said after 3, 4, ... seeds of all settings: the first outcome that is none of "undecided"."""
    for count in range(3, CAP + 1):
        outcome, *_ = judged(claim, {(i,): column[:count] for i, column in enumerate(differences.T)})
        if outcome != "undecided":
            return outcome, count
    return "undecided", CAP


@pytest.mark.parametrize("settings", [1, 3])
def test_where_nothing_is_it_hardly_ever_says_that_something_is(settings):
    """Experiments without an effect, looked at after every seed."""
    draws = np.random.default_rng(0)
    words = [outcomes_on_the_way(BELOW, draws.normal(size=(CAP, settings)))[0] for _ in range(300)]
    assert words.count("reproduced") + words.count("contradicted") <= few(300)


@pytest.mark.parametrize("share, settings, true", cases([(1.0, 4, 3), (0.1, 20, 1)], [(1.0, 4, 3)]))
def test_a_claim_that_is_false_by_one_setting_is_hardly_ever_reproduced(share, settings, true):
    """The worst case: all settings that may be are beyond doubt, and in the others there is no effect."""
    draws = np.random.default_rng(9)
    claim = replace(BELOW, share=share)
    words = [
        outcomes_on_the_way(claim, draws.normal(-10.0 * (np.arange(settings) < true), 1, (CAP, settings)))
        for _ in range(100)
    ]
    assert 0 < [word for word, _ in words].count("reproduced") <= few(100)


def test_settings_share_the_error_only_where_one_of_them_contradicts():
    """Ten seeds that agree in each of sixteen settings decide, where one interval for all at once would not."""
    one_side = {(i,): -np.arange(1.0, 11.0) for i in range(16)}
    claim = replace(BELOW, average="median")
    assert Interval.of((), one_side[0,], ERROR / 16, "median").high == math.inf
    verdict = decided(claim, one_side)
    assert verdict.outcome == "reproduced" and "[-7, -1]" in verdict.measured
    assert decided(replace(claim, direction="above"), one_side).outcome == "undecided"
    assert decided(replace(claim, share=0.25), one_side).outcome == "undecided"  # thirteen may err


def test_what_medians_decided_once_stays_decided():
    few = np.concatenate([np.full(10, -1.0) - np.arange(10), np.arange(1.0, 5.0)])
    claim = replace(BELOW, average="median")
    assert median_between(few, ERROR)[1] > 0 and decided(claim, {(): few}).outcome == "reproduced"
    turned = decided(claim, {(): np.concatenate([np.full(20, -1.0), np.full(80, 1.0)])})
    assert turned.outcome == "undecided" and "no interval yet" in turned.measured


def test_the_interval_holds_the_truth_at_all_counts_at_once():
    draws = np.random.default_rng(1)
    missed = 0
    for _ in range(1000):
        x = draws.normal(0.7, 2.0, CAP)
        found = [Interval.of((), x[:count], ERROR) for count in range(3, CAP + 1)]
        missed += any(not one.low <= 0.7 <= one.high for one in found)
    assert missed <= 75
    plain = sum(  # the same by the usual interval, looked at as often: it is broken
        any(abs(x[:n].mean() - 0.7) > 1.96 * x[:n].std(ddof=1) / math.sqrt(n) for n in range(3, CAP + 1))
        for x in (draws.normal(0.7, 2.0, CAP) for _ in range(200))
    )
    assert plain > 50


def heavy(draws, size):
    """Networks of which one in eight runs away, to either side: the usual mean says nothing of them."""
    return np.where(draws.random(size) < 0.125, 1e3 * draws.standard_cauchy(size), draws.normal(size=size))


@thorough
def test_the_judge_of_medians_is_hardly_ever_wrong_of_any_distribution():
    """As above, on differences that have no mean."""
    draws = np.random.default_rng(6)
    claim = replace(BELOW, average="median")
    words = [outcomes_on_the_way(claim, heavy(draws, (CAP, 1)))[0] for _ in range(300)]
    assert words.count("reproduced") + words.count("contradicted") <= few(300)


@thorough
def test_the_interval_of_the_median_holds_it_at_all_counts_at_once():
    """Of a distribution that leans to one side, whose mean is not its median; and of one with values that recur."""
    draws = np.random.default_rng(7)
    for drawn, truth in (
        (lambda: draws.exponential(size=CAP), math.log(2)),
        (lambda: draws.integers(0, 3, CAP).astype(float), 1.0),
    ):
        missed = 0
        for _ in range(300):
            x = drawn()
            found = [Interval.of((), x[:count], ERROR, "median") for count in range(3, CAP + 1)]
            missed += any(not one.low <= truth <= one.high for one in found)
        assert missed <= few(300)


def test_medians_decide_where_single_networks_run_away():
    draws = np.random.default_rng(8)
    claim = replace(BELOW, margin=1.0, average="median")
    effects = [heavy(draws, (CAP, 1)) - 2.0 for _ in range(100)]
    medians = [outcomes_on_the_way(claim, effect) for effect in effects]
    assert [word for word, _ in medians].count("reproduced") >= 90
    assert np.median([count for _, count in medians]) < 30
    means = [outcomes_on_the_way(replace(claim, average="mean"), effect)[0] for effect in effects]
    assert means.count("undecided") >= 50


def test_the_interval_of_the_median_inverts_the_martingale():
    """By the beta integral over the probability of lying below, with plain quadrature; and its smallest numbers."""
    count, error = 15, 0.05
    low, high = median_between(np.arange(count, dtype=float), error)
    angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi / 2
    chance = np.sin(angle) ** 2  # of Beta(½, ½), whose angle is uniform
    growth = [np.mean(2.0**count * chance**k * (1 - chance) ** (count - k)) for k in range(count + 1)]
    inside = [k for k in range(count + 1) if growth[k] < 1 / error]
    assert (low, high) == (inside[0] - 1, inside[-1])
    assert median_between(np.arange(6.0), error) == (-math.inf, math.inf)
    assert median_between(np.arange(7.0), error) == (0, 6)


@pytest.mark.parametrize("effect, outcome", [(-2.0, "reproduced"), (2.0, "contradicted")])
def test_an_effect_of_twice_the_margin_is_decided(effect, outcome):
    """The margin is one spread of the differences over seeds. At least 90 in 100, for which a rate of 98 % or more
    fails once in 1e5."""
    draws = np.random.default_rng(2)
    claim = replace(BELOW, margin=1.0)
    words = [outcomes_on_the_way(claim, draws.normal(effect, 1.0, (CAP, 1))) for _ in range(100)]
    assert [word for word, _ in words].count(outcome) >= 90
    assert np.median([count for _, count in words]) < 25


def test_a_difference_that_does_not_matter_is_no_difference():
    draws = np.random.default_rng(3)
    claim = replace(BELOW, margin=1.0)
    words = [outcomes_on_the_way(claim, draws.normal(0, 0.5, (CAP, 1)))[0] for _ in range(100)]
    assert words.count("no difference") >= 95
    level = replace(claim, direction="level")
    words = [outcomes_on_the_way(level, draws.normal(0, 0.5, (CAP, 1)))[0] for _ in range(100)]
    assert words.count("reproduced") >= 95
    words = [outcomes_on_the_way(level, draws.normal(3, 0.5, (CAP, 1)))[0] for _ in range(100)]
    assert words.count("contradicted") >= 95


def test_the_width_solves_the_martingale():
    """At the end of the interval the mixture's likelihood ratio is 1 / error: by quadrature over effects."""
    count, spread, error, width = 12, 1.7, 0.05, 10.0
    half = half_width(count, spread, error)
    # data of this mean and spread; ∫ σ^{-n-1} exp(−Σ (x − effect σ)² / 2σ²) dσ, over 1/σ = s, by the exponent's top
    total, squares = count * half, (count - 1) * spread**2 + count * half**2
    s = np.linspace(1e-4, 8 / spread, 4000)[:, None]
    effects = np.linspace(-15, 15, 3001)
    log = (count - 1) * np.log(s) - 0.5 * (squares * s**2 - 2 * effects * total * s + count * effects**2)
    evidence = np.trapezoid(np.exp(log - log.max()), s, axis=0)
    prior = np.exp(-(effects**2) / (2 * width)) / math.sqrt(2 * math.pi * width)
    ratio = np.trapezoid(evidence * prior, effects) / evidence[len(effects) // 2]
    assert ratio == pytest.approx(1 / error, rel=1e-3)


def test_seeds_are_paired():
    """Seeds differ by far more than the sides do; the sides differ at every seed."""
    seeds = np.random.default_rng(4).normal(0, 100, 8)
    frame = table(seeds - 1 + 0.01 * np.arange(8), seeds)
    assert BELOW.verdict(frame).outcome == "reproduced"
    apart = frame.with_columns(
        pl.when(pl.col("method") == "ours").then(7 - pl.col("seed")).otherwise(pl.col("seed")).alias("seed")
    )
    assert BELOW.verdict(apart).outcome == "undecided"


def test_what_is_chosen_is_not_what_is_reported():
    rows = [
        {"method": method, "seed": seed, "learning_rate": rate, "selection": chosen, "loss": loss + 0.001 * seed}
        for method, rate, chosen, loss in (
            ("ours", 0.1, 1.0, 5.0),  # best by selection, the worse by report
            ("ours", 0.2, 2.0, 1.0),
            ("theirs", 0.1, 1.0, 2.0),
        )
        for seed in range(6)
    ]
    chosen = replace(OURS, best=("learning_rate",))
    verdict = replace(BELOW, of=chosen).verdict(pl.DataFrame(rows))
    assert verdict.outcome == "contradicted" and "+3" in verdict.measured


def test_all_settings_count_and_a_share_where_it_is_said():
    frame = pl.concat(
        [table(np.arange(8) * 0.01 - (1 if task < 3 else -1), np.zeros(8), task=task) for task in range(4)]
    )
    claim = replace(BELOW, each=("task",))
    assert claim.verdict(frame).outcome == "contradicted"
    assert claim.verdict(frame.filter(pl.col("task") < 3)).outcome == "reproduced"
    assert replace(claim, share=0.75).verdict(frame).outcome == "reproduced"


def test_ratios_and_numbers():
    frame = table(np.exp(np.linspace(0, 0.1, 8)) * 20, np.ones(8))
    verdict = replace(BELOW, against=32.0, ratio=True, margin=0.1).verdict(frame)
    assert verdict.outcome == "reproduced" and "%" in verdict.measured
    assert replace(BELOW, against=32.0, ratio=True, direction="above").verdict(frame).outcome == "contradicted"


def test_what_is_open_says_how_many_seeds_would_decide():
    draws = np.random.default_rng(5)
    verdict = BELOW.verdict(table(draws.normal(-0.8, 1, 5), np.zeros(5)))
    assert verdict.outcome == "undecided" and 5 < verdict.seeds < 200
    assert f"about {verdict.seeds} seeds" in verdict.measured
    assert BELOW.verdict(table([1.0], [2.0])).outcome == "undecided"
    assert BELOW.verdict(table([1.0, 1.0], [2.0, 2.0])).outcome == "undecided"  # two seeds decide nothing
    assert BELOW.verdict(pl.DataFrame()).seeds == -1
    usual = replace(BELOW, average="median").verdict(table([-1.0, -1.1, -1.2, -0.9, 1e6], np.zeros(5)))
    assert usual.outcome == "undecided" and 7 < usual.seeds < 40 and usual.measured.startswith("-1 ")
    with pytest.raises(UserError, match=r"'Ours is smaller.': the table has no column .*loss.*: it is misspelt, or"):
        BELOW.verdict(table([1.0], [2.0]).drop("loss"))
    with pytest.raises(UserError, match=r"the table has no column .*taus.*: it is misspelt, or"):
        replace(BELOW, of=Side("short", pl.col("taus") == 2)).verdict(table([1.0], [2.0]))
    lacking = BELOW.verdict(table([1.0], [2.0]).filter(pl.col("method") == "ours"))
    assert lacking.measured == "not measured: theirs"


def test_the_rule_is_what_decides_and_not_what_is_said():
    assert replace(BELOW, sentence="Another.", source="there").rule == BELOW.rule
    others = [
        replace(BELOW, margin=0.1),
        replace(BELOW, direction="above"),
        replace(BELOW, each=("task",)),
        replace(BELOW, of=THEIRS),
        replace(BELOW, against=3.0),
        replace(BELOW, of=replace(OURS, best=("learning_rate",))),
    ]
    others.append(replace(BELOW, average="median"))
    assert len({BELOW.rule, *(claim.rule for claim in others)}) == 8


def test_bad_claims_are_refused():
    with pytest.raises(ValueError, match="direction among"):
        replace(BELOW, direction="smaller")
    with pytest.raises(ValueError, match="average among"):
        replace(BELOW, average="mode")
    with pytest.raises(ValueError, match="margin above 0"):
        replace(BELOW, direction="level")
    twice = pl.concat([table([1, 2, 3], [2, 3, 4])] * 2)
    assert BELOW.verdict(twice).measured.endswith("ours with one row a seed: several variants are in it, choose one")


def test_claims_know_their_cells():
    assert BELOW.concerns({"method": "ours", "seed": 3}) and not BELOW.concerns({"method": "others"})
    assert not BELOW.concerns({"method": None, "seed": 3})
    measured = replace(BELOW, of=Side("all", pl.col("found_later") > 0))
    assert measured.concerns({"method": "others"})
    known_in_part = pl.col("critic").str.starts_with("features") & (pl.col("task") == "copy")
    parts = replace(BELOW, of=Side("critics on copy", known_in_part), against=1.0)
    assert parts.concerns({"task": "copy", "seed": 3}) and not parts.concerns({"task": "recall", "seed": 3})
    twice = replace(BELOW, of=Side("short or long", (pl.col("tau") == 2) | (pl.col("tau") == 32)), against=1.0)
    assert twice.concerns({"tau": 32}) and not twice.concerns({"tau": 8}) and twice.concerns({"method": "full"})


def test_what_it_takes_to_decide_is_known_from_what_was_measured():
    """Ours: four networks in two cells of 10 s, six more are asked for; theirs: ten in one cell, and none."""
    spent = [
        ({"method": "ours", "seed": 0, "seeds": 2}, 10.0),
        ({"method": "ours", "seed": 2, "seeds": 2}, 10.0),
        ({"method": "theirs", "seed": 0, "seeds": 10}, 7.0),
        ({"method": "others", "seed": 0}, 1000.0),
    ]
    assert seconds_to_decide(BELOW, 10, spent) == pytest.approx(6 * 20 / 4)
    assert seconds_to_decide(BELOW, 20, spent) == pytest.approx(16 * 20 / 4 + 10 * 7 / 10)
    assert seconds_to_decide(BELOW, 0, spent) == seconds_to_decide(BELOW, -1, spent) == 0


def test_checks_hold_or_do_not():
    check = Check("It is small.", "here", lambda frame: (frame["loss"].max() < 3, "at most 3"))
    assert check.verdict(table([1], [2])).outcome == "holds"
    assert check.verdict(table([1], [9])).outcome == "violated"
    assert check.verdict(pl.DataFrame()).outcome == "not measured"


def test_a_pooled_side_is_of_seeds_that_have_all_of_its_rows():
    """Seeds that were added for another claim, about some of the rows, would be another mean."""

    def rows(kind, seed, values):
        return [{"kind": kind, "seed": seed, "tau": tau, "loss": value} for tau, value in values.items()]

    table = pl.DataFrame(
        [
            row
            for seed in (0, 1)
            for kind, high in (("a", 2.0), ("b", 4.0))
            for row in rows(kind, seed, {8: 1.0, 16: high})
        ]
        + [row for kind, high in (("a", 12.0), ("b", 4.0)) for row in rows(kind, 2, {16: high})]
    )
    sides = (Side(kind, pl.col("kind") == kind, pooled=True) for kind in "ab")
    (found,) = Claim("", "", "loss", *sides).differences(table).values()
    assert found.tolist() == [-1.0, -1.0]
