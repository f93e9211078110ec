"""Colours and marks: estimators that are ours have their own, and others get them by their names."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.experiments import load
from tbptt_jax.named import name_in
from tbptt_jax.plots.names import apart
from tbptt_jax.plots.style import OTHERS, STYLES, style_of, styles_of


def test_every_estimator_that_has_a_look_has_it_alone():
    assert set(STYLES) <= set(tb.all_estimators())
    assert len(set(STYLES.values())) == len(STYLES) and not set(STYLES.values()) & set(product(*OTHERS))


def test_an_estimator_of_a_users_own_has_the_look_that_its_name_tells():
    assert style_of("my.py:Mine(tau=4)") == style_of("my.py:Mine") == {"color": "#A6761D", "marker": "h"}
    looks = {tuple(style_of(f"my.py:Mine{i}").values()) for i in range(100)}
    assert looks == set(product(*OTHERS))


def test_each_variant_of_a_method_of_a_users_own_has_a_curve_where_few_of_ours_have_one():
    """In the figure of `online`: with snap, which is shown, ok, which is not, and by_age, which it does not ask."""
    row = {"task": "mimic()", "cell": "tanh", "learning_rate": 0.1, "diverged_at": -1, "seed": 0, "run": 0}
    row |= {"selection": 1.0, "report": 1.0, "carried": 4, "cosine": 0.5, "best": None}
    row |= {"curve_seen": [1, 2], "curve_report": [2.0, 1.0], "seconds": 3.0, "symbols": 2}
    mine = [f"my.py:Mine(keep={keep})" for keep in (0.5, 0.9)]
    table = pl.DataFrame(
        [row | {"method": name_in(name), "series": name, "estimator": name} for name in ("snap", "ok", "by_age", *mine)]
    )
    figure = load("online").plot(table)["losses"]()
    colours = [line.get_color() for line in figure.axes[0].lines]
    names = [text.get_text() for text in figure.axes[-1].texts]
    paces = {float(line.get_xdata()[0]) for line in figure.axes[1].lines}
    plt.close(figure)
    assert paces == {1.5e6}  # microseconds: 3 seconds of one network for 2 symbols
    assert colours == [style_of(name)["color"] for name in ("by_age", *mine, "snap")] and sorted(names) == [
        "by_age",
        *mine,
        "ok",
        "snap",
    ]


def test_variants_of_one_method_are_dashed_in_turn():
    looks = styles_of(["my.py:Mine(keep=0.5)", "pes", "my.py:Mine(keep=0.9)"])
    assert [look["linestyle"] for look in looks.values()] == ["-", "-", "--"]


def test_a_truncation_of_a_users_own_has_its_line_and_its_colour_in_break_even():
    row = {"task": "copy()", "tau": 2, "training": 1, "length": 8, "by_error": 9.0, "by_efficiency": 9.0}
    pairs = [
        ("randomized", "segment"),
        ("my.py:Mine", "segment"),
        ("randomized", "my.py:Biased"),
        ("randomized", "buffered"),
    ]
    figure = load("break_even").plot(pl.DataFrame([row | {"method": a, "against": b} for a, b in pairs]))["sequences"]()
    drawn = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    plt.close(figure)
    assert drawn["my.py:Mine against segments"] == style_of("my.py:Mine")["color"]
    assert drawn["randomized against my.py:Biased"] == style_of("my.py:Biased")["color"]
    assert drawn["randomized against overlapping blocks"] == style_of("buffered")["color"]


def test_influence_balancing_draws_the_lengths_that_it_has():
    row = {"series": "window", "method": "window", "length": 400, "learning_rate": 0.1, "seed": 0, "run": 0}
    row |= {"diverged_at": -1, "slope": -1.0, "distance": 1.0, "curve_updates": [1, 2], "curve_distance": [2.0, 1.0]}
    figure = load("influence_balancing").plot(pl.DataFrame([row | {"tau": tau} for tau in (12, 50)]))["training"]()
    drawn = [line.get_label() for line in figure.axes[0].lines]
    plt.close(figure)
    assert sorted(drawn) == ["window, τ = 12; rate 0.1", "window, τ = 50; rate 0.1"]


@pytest.mark.parametrize(
    ("heights", "places"),
    [
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.5, 0.5, 0.51], [0.5, 0.57, 0.64]),
        ([0.98, 0.99, 3.0], [0.86, 0.93, 1.0]),
        ([0.0] * 21, np.linspace(0, 1, 21)),
    ],
)
def test_names_stand_at_their_heights_or_as_near_as_others_let_them(heights, places):
    assert apart(heights, 0.0, 1.0) == pytest.approx(places)
