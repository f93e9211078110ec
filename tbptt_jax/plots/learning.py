"""Curves of learning, at the best learning rate of each estimator: a line a group, a band over its seeds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.plots.style import style_of


def curve(
    axes: Any,
    rows: pl.DataFrame,
    x: str,
    y: str,
    estimator: str,
    label: str,
    transform: Callable = lambda values: values,
    **more: Any,
):
    """Draw the median over rows of a curve, and a band from the smallest to the largest; give the line."""
    values = transform(np.stack([np.asarray(row, float) for row in rows[y]]))
    across = np.mean(np.stack([np.asarray(row, float) for row in rows[x]]), axis=0)
    style = style_of(estimator) | {"markevery": max(1, len(across) // 8)} | more
    (line,) = axes.plot(across, np.median(values, axis=0), label=label, **style)
    axes.fill_between(across, values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
    return line


def shades(values: Any) -> dict:
    """A line style for each of a few values, in order."""
    kinds = ("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 4, 1, 4, 1, 4)))
    return {value: kinds[i % len(kinds)] for i, value in enumerate(sorted(values))}
