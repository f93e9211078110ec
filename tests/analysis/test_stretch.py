"""The stretches without a cut, the longest and that of a step: by enumeration of all patterns, and by hand."""

from itertools import product

import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.analysis.stretch import stretches
from tbptt_jax.estimators.laws import Renewal

T = 9


def enumerated(chance_of_cut):
    """Over all patterns of cuts before steps 1..T−1: the mean of the longest stretch, and of that of a step."""
    longest = averaged = 0.0
    for pattern in product([False, True], repeat=T - 1):
        chance, lengths = 1.0, [1]
        for t, cut in enumerate(pattern, 1):
            c = chance_of_cut(t, lengths[-1])
            chance *= c if cut else 1 - c
            if cut:
                lengths.append(1)
            else:
                lengths[-1] += 1
        longest += chance * max(lengths)
        averaged += chance * sum(length**2 for length in lengths) / T
    return longest, averaged


def both(est, length):
    return tb.exact.longest_stretch(est, length), tb.exact.averaged_stretch(est, length)


DRAWN = [tb.Randomized(0.75), tb.Geometric(0.4), tb.ARTBP(3), tb.ARTBP(5, alpha=2.5), tb.ByAge((0.0, 0.7, 0.2))]


@pytest.mark.parametrize("est", DRAWN, ids=str)
def test_it_is_the_mean_over_all_patterns(est):
    law = est.law(T)
    if isinstance(law, Renewal):
        cut = np.asarray(law.cut)
        expected = enumerated(lambda t, age: cut[age - 1])
    else:
        expected = enumerated(lambda t, age: 1 - est.keep)
    assert both(est, T) == pytest.approx(expected, rel=1e-12)


def test_gates_of_their_own_probabilities():
    keeps = np.linspace(0.3, 0.95, T)
    expected = enumerated(lambda t, age: 1 - keeps[t])
    assert both(tb.Scheduled(tuple(keeps)), T) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_drawn():
    assert tb.exact.longest_stretch(tb.Segment(4), 10) == 4
    assert tb.exact.longest_stretch(tb.Window(3), 10) == 3
    assert tb.exact.longest_stretch(tb.Full(), 10) == 10
    assert tb.exact.longest_stretch(tb.Buffered(6, 3), 4) == 4
    # segments of 4 in 6 steps, from an offset of 0, 1, 2, 3: 4 2 | 1 4 1 | 2 4 | 3 3
    assert tb.exact.longest_stretch(tb.Segment(4, "random"), 6) == pytest.approx((4 + 4 + 4 + 3) / 4)
    assert tb.exact.averaged_stretch(tb.Segment(4, "random"), 6) == pytest.approx((20 + 18 + 20 + 18) / 4 / 6)
    assert stretches(np.array([0.0, 1, 1, 0, 1])).tolist() == [3, 2]
    with pytest.raises(ValueError, match="how it cuts"):
        tb.exact.longest_stretch(tb.UORO(), 4)


def test_it_grows_beyond_the_mean_length():
    """Of segments of 8 on average in 64 steps, the longest are several times as long."""
    assert 20 < tb.exact.longest_stretch(tb.Randomized(0.875), 64) < 30
    assert 14.9 < tb.exact.averaged_stretch(tb.Randomized(0.875), 2000) < 15  # 2 × 8 − 1, but for the ends
    assert both(tb.Randomized(1.0), 64) == (64, 64)


def test_what_rolls_looks_back_over_more_than_its_nominal_length():
    assert tb.Rolling(15, 8).nominal_length == 8
    assert tb.exact.longest_stretch(tb.Rolling(15, 8), 64) == tb.exact.longest_stretch(tb.Buffered(15, 8), 64) == 15
