"""Names beside a panel, instead of a legend."""

from typing import Any, NamedTuple

import numpy as np


class Named(NamedTuple):
    """A point of a panel, or the end of a line, and what it is called."""

    y: float
    x: float
    name: str
    colour: Any


def name_at_the_right(axes: Any, points: list[Named]) -> None:
    """Every point's name beside the panel, one below the other in the order of the points, with a line to its point, or
    to the top of the panel where it lies above it."""
    low, high = axes.get_ylim()
    place_of = axes.get_yaxis_transform()  # the width of the panel is 1, heights are those of the data
    for point, place in zip(sorted(points), np.linspace(low, high, len(points))):
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
