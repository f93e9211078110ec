"""The law of lengths of least variance: against the exact variance, and against all laws of three steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import tbptt_jax as tb
from tbptt_jax.analysis import lengths
from tbptt_jax.analysis.lengths import contributions
from tests.problems import LENGTH, QUICK, problem
from tests.tiers import cases, thorough

LAWS = [tb.ARTBP(3.0), tb.ByAge((0.0, 0.6, 0.2)), tb.ByAge(0.25)]


@pytest.mark.parametrize("kind", cases(["tanh", "lstm"], QUICK))
def test_contributions_give_the_exact_variance_of_every_law(kind):
    found = contributions(*problem(kind))
    for est in LAWS:
        exact = float(tb.exact.variance(est, *problem(kind)))
        cut = est.law(LENGTH).cut[: LENGTH - 1]
        assert float(found.variance(cut)) == pytest.approx(exact, rel=1e-9)


def test_what_is_left_out_is_no_more_than_was_said():
    whole, part = (contributions(*problem("tanh"), left_out=left_out) for left_out in (0.0, 0.1))
    left = 1 - float(jnp.sum(part.root**2) / jnp.sum(whole.root**2))
    assert 0 < left <= 0.1 and part.root.shape[2] < whole.root.shape[2]


@thorough
@pytest.mark.parametrize("memory", cases(["averaged", "longest"], ["averaged"]))
def test_no_law_of_three_steps_has_less_variance(memory):
    model, params, batch = problem("tanh")
    batch = jax.tree.map(lambda leaf: leaf[:3], batch)
    stretch = {"averaged": tb.exact.averaged_stretch, "longest": tb.exact.longest_stretch}[memory]

    def second(first):
        """The cut after two steps that keeps two states, if there is one."""
        ends = [stretch(tb.ByAge((first, c)), 3) - 2 for c in (1e-9, 1 - 1e-9)]
        if ends[0] * ends[1] > 0:
            return None
        return brentq(lambda c: stretch(tb.ByAge((first, c)), 3) - 2, 1e-9, 1 - 1e-9, xtol=1e-6)

    laws = [(first, second(first)) for first in np.linspace(0.02, 0.98, 17)]
    others = [float(tb.exact.variance(tb.ByAge(law), model, params, batch)) for law in laws if law[1] is not None]
    found = tb.ByAge(tb.exact.optimal_cuts(model, params, batch, 2, memory))
    assert len(others) > 5 and stretch(found, 3) == pytest.approx(2, rel=1e-9)
    assert float(tb.exact.variance(found, model, params, batch)) <= min(others) * 1.001


@thorough
def test_it_has_less_variance_than_equal_cuts_and_artbp_of_as_many_states():
    at = problem("tanh")
    best = tb.ByAge(tb.exact.optimal_cuts(*at, states=3))
    for of in (lambda x: tb.Randomized(1 - x), lambda x: tb.ARTBP(1 / x)):
        other = of(brentq(lambda x, of=of: tb.exact.averaged_stretch(of(x), LENGTH) - 3, 0.01, 0.95))
        assert tb.exact.variance(best, *at) < tb.exact.variance(other, *at)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"states": 1}, "states: a number above 1 and below the length 6 is needed, got 1"),
        ({"states": 6}, "below the length 6"),
        ({"states": 3, "memory": "mean"}, "memory: one of averaged, longest is needed, got 'mean'"),
    ],
)
def test_mistakes_have_names(options, words):
    with pytest.raises(ValueError, match=words):
        tb.exact.optimal_cuts(*problem("tanh"), **options)


def test_sequences_whose_pairs_do_not_fit_are_refused():
    model, params, batch = problem("tanh")
    long = tb.Batch(*(jnp.tile(rows, (129,) + (1,) * (rows.ndim - 1))[:129] for rows in batch[:2]))
    with pytest.raises(ValueError, match=r"batch: at most 128 steps are needed, .* got 129"):
        tb.exact.optimal_cuts(model, params, long, states=4)


def test_a_search_that_ends_early_keeps_as_many_states(monkeypatch):
    monkeypatch.setattr(lengths, "TURNS", 2)
    for memory, stretch in (("averaged", tb.exact.averaged_stretch), ("longest", tb.exact.longest_stretch)):
        found = tb.ByAge(tb.exact.optimal_cuts(*problem("tanh"), 4, memory))
        assert stretch(found, LENGTH) == pytest.approx(4, rel=1e-9)
