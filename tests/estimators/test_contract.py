"""The contract behind `tbptt check`: every estimator holds it, and what does not keep its word is caught."""

import dataclasses

import pytest

import tbptt_jax as tb
from tbptt_jax.contracts import of_estimators as contract
from tbptt_jax.contracts.of_estimators import check
from tests.estimators.test_interface import EXAMPLES
from tests.tiers import cases, thorough

# one example a class; of those that promise nothing of their mean, one a family; the others are thorough
HELD = {
    type(est): est for est in EXAMPLES if est.unbiased != "never" or isinstance(est, tb.Segment | tb.SnAp | tb.Adaptive)
}.values()


LATER = (
    *(tb.Full, tb.Segment, tb.Scheduled, tb.ByAge, tb.AdaptiveRolling, tb.NRES, tb.PES, tb.GPES),
    *(
        tb.UORO,
        tb.ARTBP,
        tb.Adaptive,
        tb.OK,
        tb.KFRTRL,
        tb.RKFRTRL,
        tb.NoBackTrack,
        tb.ES,
        tb.ForwardGradient,
        tb.Dodge,
        tb.Optimal,
    ),
)
"""These have exact tests of their own, or share a class with another that is held to the contract at once."""


@pytest.mark.parametrize(
    "est", cases(EXAMPLES, lambda est: est in HELD and est.critic is None and not isinstance(est, LATER)), ids=str
)
def test_every_estimator_keeps_the_contract(est, monkeypatch):
    monkeypatch.setattr(contract, "SAMPLES", 2**11)  # fewer than `tbptt check` draws: there are exact proofs besides
    broken = [finding for finding in check(est) if finding.held is False]
    assert not broken


@dataclasses.dataclass(frozen=True)
class Forgetful(tb.Randomized):
    """It does not reweight what it keeps."""

    def gates(self, key, length, batch_size):
        return self.keep * super().gates(key, length, batch_size)


def test_a_biased_estimator_that_says_it_is_unbiased_breaks_the_contract(monkeypatch):
    monkeypatch.setattr(contract, "SAMPLES", 2**11)
    broken = [finding.sentence for finding in check(Forgetful(0.8)) if finding.held is False]
    means = ["its mean is the exact gradient of a chunk", "the products of its gates have mean 1"]
    assert broken == [*means, "the means and squares of its gates are those of its law"]


@dataclasses.dataclass(frozen=True)
class Untrue(tb.Randomized):
    """Its law is that of another number."""

    def law(self, length):
        return tb.Randomized(self.keep + 0.1).law(length)


@pytest.mark.parametrize(
    "est, held",
    [
        *((est, True) for est in (tb.Segment(2), tb.Segment(3, "random"), tb.ByAge((0.2, 0.5)), tb.Randomized(0.7))),
        (Untrue(0.7), False),
    ],
    ids=lambda value: str(value),
)
def test_gates_are_held_to_the_law_that_exact_variances_come_from(est, held, monkeypatch):
    monkeypatch.setattr(contract, "SAMPLES", 2**11)
    (found,) = contract.gates_follow_their_law(est)
    assert found.held is held


@pytest.mark.parametrize("kind", cases([tb.Full, tb.RFLO], [tb.RFLO]), ids=lambda kind: kind.name)
def test_what_an_estimator_carries_it_must_say(kind):
    told = dataclasses.make_dataclass("Told", [], bases=(kind,), frozen=True)
    assert all(finding.held for finding in contract.keeps_its_word_on_a_stream(told()))
    told.carries_more = not kind.carries_more
    (broken,) = (finding for finding in contract.keeps_its_word_on_a_stream(told()) if not finding.held)
    assert "carries" in broken.sentence


@dataclasses.dataclass(frozen=True)
class SeesLess(tb.Segment):
    """Its losses see 1 to tau lags, and not two."""

    def lags(self, length):
        return 2


@dataclasses.dataclass(frozen=True)
class OpensLess(tb.Optimal):
    """What it freezes is open half as often."""

    def frozen(self, carry, length):
        return tb.Scheduled(self.chosen(carry, length).at[1:].mul(0.5))


@pytest.mark.parametrize(
    "test, est, held",
    [
        (contract.sees_the_lags_that_it_says, tb.Window(3), True),
        (contract.sees_the_lags_that_it_says, SeesLess(3), False),
        (contract.freezes_its_gates, tb.Optimal(0.7), True),
        (contract.freezes_its_gates, OpensLess(0.7), False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_experiments_ask_of_it_is_held_to_what_it_does(test, est, held):
    (found,) = test(est)
    assert found.held is held


@dataclasses.dataclass(frozen=True)
class OtherNoise(tb.PES):
    """Every chunk has noise of its own, and it says that all share one."""

    def noise_law(self):
        return super().noise_law()._replace(kept_for=None)


def test_perturbations_are_held_to_the_noise_that_exact_variances_come_from(monkeypatch):
    monkeypatch.setattr(contract, "SAMPLES", 2**11)
    (found,) = contract.follows_its_noise_law(OtherNoise())
    assert found.held is False


@thorough
@pytest.mark.parametrize("keep", [0.05, 0.3])
def test_a_small_keep_is_no_false_alarm(keep):
    """Products that are hardly ever seen cannot be judged, and are not."""
    assert all(finding.held is not False for finding in check(tb.Randomized(keep)))
