"""Names beside a panel, instead of a legend."""

from typing import Any, NamedTuple

import numpy as np

LINE = 0.07
"""The height of a line of text, of that of a panel."""


class Named(NamedTuple):
    """A point of a panel, or the end of a line, and what it is called."""

    y: float
    x: float
    name: str
    colour: Any


def name_at_the_right(axes: Any, points: list[Named]) -> None:
    """Every point's name beside the panel, at its height or as near as the others let it, with a line to its point, or
    to the top of the panel where it lies above it."""
    low, high = axes.get_ylim()
    place_of = axes.get_yaxis_transform()  # the width of the panel is 1, heights are those of the data
    in_order = sorted(points)
    for point, place in zip(in_order, apart([point.y for point in in_order], low, high)):
        axes.annotate(
            point.name,
            (point.x, min(point.y, high)),
            xytext=(1.08, place),
            textcoords=place_of,
            color=point.colour,
            fontsize=6.5,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.5, "relpos": (0, 0.5)},
        )


def apart(heights: list[float], low: float, high: float) -> np.ndarray:
    """Heights that rise, moved apart as far as lines of text need, within a range."""
    gap = min(LINE * (high - low), (high - low) / max(1, len(heights) - 1))
    steps = gap * np.arange(len(heights))
    raised = np.maximum.accumulate(np.clip(heights, low, high) - steps)  # none lies less than a gap above the last
    return np.minimum(raised, high - steps[-1:]) + steps
