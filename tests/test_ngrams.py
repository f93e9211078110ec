"""Counted n-grams against their formula, worked out by hand and in exact fractions."""

from fractions import Fraction
from math import log

import numpy as np
import pytest

import tbptt_jax as tb

TEXT = [0, 1, 0, 1, 2, 0, 1, 0]


def by_the_formula(text: list[int], classes: int, context: tuple[int, ...], symbol: int) -> Fraction:
    """Witten & Bell's estimate, each count made anew."""
    after = [
        text[i + len(context)] for i in range(len(text) - len(context)) if tuple(text[i : i + len(context)]) == context
    ]
    shorter = by_the_formula(text, classes, context[1:], symbol) if context else Fraction(1, classes)
    kinds = len(set(after))
    return (after.count(symbol) + kinds * shorter) / (len(after) + kinds) if after else shorter


def test_two_counts_by_hand():
    """0 1 0 1 2 0 1 0: four 0s, three 1s and a 2; after a 1 came 0, 2 and 0."""
    one = tb.NGrams(np.array(TEXT), 3, order=1).probabilities(b"")
    np.testing.assert_allclose(one, [(4 + 3 / 3) / 11, (3 + 3 / 3) / 11, (1 + 3 / 3) / 11], rtol=1e-12)
    two = tb.NGrams(np.array(TEXT), 3, order=2).probabilities(bytes([1]))
    np.testing.assert_allclose(two, [(2 + 2 * one[0]) / 5, 2 * one[1] / 5, (1 + 2 * one[2]) / 5], rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_they_follow_the_formula_and_sum_to_one(order):
    grams = tb.NGrams(np.array(TEXT), 4, order)
    for context in ([], [0], [1], [3], [0, 1], [1, 0, 1], [2, 2, 2]):
        found = grams.probabilities(bytes(context[: order - 1]))
        expected = [by_the_formula(TEXT, 4, tuple(context[: order - 1]), symbol) for symbol in range(4)]
        np.testing.assert_allclose(found, [float(value) for value in expected], rtol=1e-12)
        assert np.isclose(found.sum(), 1)


def test_the_loss_of_a_row_sees_what_the_row_has_shown():
    grams = tb.NGrams(np.array(TEXT), 3, order=3)
    row = [1, 0, 1]
    expected = [(b"\x01", 0), (b"\x01\x00", 1)]
    assert np.isclose(grams.loss(np.array([row])), -np.mean([log(grams.probabilities(c)[s]) for c, s in expected]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((np.array([300, 1]), 256, 1), "text: symbols from 0 to 255 are needed, got 1 to 300"),
        ((np.array([-1, 1]), 3, 1), "text: symbols from 0 to 2"),
        ((np.eye(3), 3, 1), "text: whole numbers"),
        ((np.array(TEXT), 3, 0), "order: a whole number of at least 1"),
        ((np.array(TEXT), 300, 1), "classes: a number from 1 to 256"),
    ],
)
def test_a_text_that_cannot_be_counted_is_refused(words, said):
    with pytest.raises(tb.UserError, match=said):
        tb.NGrams(*words)


@pytest.mark.parametrize("rows", [np.array(TEXT), np.array([[0], [1]]), np.array([[0, 3]])])
def test_rows_that_have_no_loss_are_refused(rows):
    with pytest.raises(tb.UserError, match="rows: "):
        tb.NGrams(np.array(TEXT), 3, 2).loss(rows)
