"""The longest stretch without a cut: by enumeration of all patterns, and by hand."""

from itertools import product

import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.analysis.stretch import longest_run
from tbptt_jax.estimators.laws import Renewal

T = 9


def enumerated(chance_of_cut):
    """Σ over all patterns of cuts before steps 1..T−1 of their probability times their longest stretch."""
    total = 0.0
    for pattern in product([False, True], repeat=T - 1):
        chance, age, longest = 1.0, 1, 1
        for t, cut in enumerate(pattern, 1):
            c = chance_of_cut(t, age)
            chance *= c if cut else 1 - c
            age = 1 if cut else age + 1
            longest = max(longest, age)
        total += chance * longest
    return total


@pytest.mark.parametrize("est", [tb.Randomized(0.75), tb.Geometric(0.4), tb.ARTBP(3), tb.ARTBP(5, alpha=2.5)])
def test_it_is_the_mean_over_all_patterns(est):
    law = est.law(T)
    if isinstance(law, Renewal):
        cut = np.asarray(law.cut)
        expected = enumerated(lambda t, age: cut[age - 1])
    else:
        expected = enumerated(lambda t, age: 1 - est.keep)
    assert tb.exact.longest_stretch(est, T) == pytest.approx(expected, rel=1e-12)


def test_gates_of_their_own_probabilities():
    keeps = np.linspace(0.3, 0.95, T)
    expected = enumerated(lambda t, age: 1 - keeps[t])
    assert tb.exact.longest_stretch(tb.Scheduled(tuple(keeps)), T) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_drawn():
    assert tb.exact.longest_stretch(tb.Segment(4), 10) == 4
    assert tb.exact.longest_stretch(tb.Window(3), 10) == 3
    assert tb.exact.longest_stretch(tb.Full(), 10) == 10
    assert tb.exact.longest_stretch(tb.Buffered(6, 3), 4) == 4
    # segments of 4 in 6 steps, from an offset of 0, 1, 2, 3: 4 2 | 1 4 1 | 2 4 | 3 3
    assert tb.exact.longest_stretch(tb.Segment(4, "random"), 6) == pytest.approx((4 + 4 + 4 + 3) / 4)
    assert longest_run(np.array([0.0, 1, 1, 0, 1])) == 3
    with pytest.raises(ValueError, match="how it cuts"):
        tb.exact.longest_stretch(tb.UORO(), 4)


def test_it_grows_beyond_the_mean_length():
    """Of segments of 8 on average in 64 steps, the longest are several times as long."""
    assert 20 < tb.exact.longest_stretch(tb.Randomized(0.875), 64) < 30
    assert tb.exact.longest_stretch(tb.Randomized(1.0), 64) == 64
