"""The chapter's picture, against gates that are multiplied by hand."""

import jax
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.plots.reach import reach

LENGTH = 9


def by_gates(gates):
    seen = np.zeros((LENGTH, LENGTH))
    for t in range(LENGTH):
        for s in range(t + 1):
            seen[t, s] = np.prod(gates[s + 1 : t + 1])
    return seen


@pytest.mark.parametrize("est", [tb.Segment(4), tb.Full(), tb.Randomized(0.6), tb.ARTBP(3.0)], ids=lambda est: est.name)
def test_of_gates_it_is_their_product(est):
    key = jax.random.key(3)
    gates = np.asarray(est.gates(key, LENGTH, 1))[:, 0]
    np.testing.assert_allclose(reach(est, LENGTH, key), by_gates(gates), atol=1e-12)


def test_of_windows_it_is_a_band():
    band = np.tril(np.ones((LENGTH, LENGTH))) - np.tril(np.ones((LENGTH, LENGTH)), -3)
    np.testing.assert_allclose(reach(tb.Window(3), LENGTH), band, atol=1e-12)


def test_the_picture_has_a_panel_each():
    figure = tb.plot_reach(tb.Segment(4), tb.Window(4), tb.Randomized(0.7), length=12, key=jax.random.key(0))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "segment(tau=4)",
        "window(tau=4)",
        "randomized(keep=0.7)",
    ]
    assert all(axes.images for axes in figure.axes)
    with pytest.raises(tb.UserError, match="plot_reach: an estimator that cuts"):
        tb.plot_reach()
    with pytest.raises(tb.UserError, match="truncation: an estimator that cuts"):
        tb.plot_reach(tb.RTRL())
