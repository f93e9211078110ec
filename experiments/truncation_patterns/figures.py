"""The chapter's picture: the words in pieces, and beneath them how far and how strongly each loss reaches back."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.truncation_patterns.measure import WORDS
from tbptt_jax.lab.claims import NotMeasured
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    rows = list(table.iter_rows(named=True))
    return {"pieces": partial(pieces, rows), "reach": partial(reach, rows)}


def title(row: Any):
    return row["series"] + (f" (τ = {row['tau']})" if row.get("tau") else "")


def pieces(rows: list[dict]):
    """Steps in one box are joined by credit; where a loss looks back into the box before, as with windows and blocks
    that overlap, there are none to draw."""
    parts = [(row, boxes(np.asarray(row["weights"]))) for row in rows]
    parts = [(row, ends) for row, ends in parts if ends]
    if not parts:
        raise NotMeasured("an estimator that cuts the words in pieces is needed, other than windows or blocks")
    figure, grid = panels(len(parts), 1, width=7.4, height=0.62)
    for axes, (row, ends) in zip(grid[:, 0], parts):
        colour = style_of(row["series"])["color"]
        for start, end in ends:
            axes.add_patch(box(start, end, colour))
        for i, letter in enumerate(WORDS):
            axes.text(i + 0.5, 0.5, letter, ha="center", va="center", family="monospace", fontsize=11)
        axes.set(xlim=(0, len(WORDS)), ylim=(0, 1), yticks=[], xticks=[])
        axes.set_title(title(row), color=colour)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def boxes(weights: np.ndarray) -> list[tuple[int, int]]:
    """The pieces within which every loss reaches every earlier step, and none beyond; none if there are no such."""
    piece = np.cumsum([False, *(np.diagonal(weights, -1) == 0)])
    same = np.tril(piece[:, None] == piece)
    starts = [*np.unique(piece, return_index=True)[1], len(weights)]
    return list(pairwise(map(int, starts))) if np.array_equal(same, weights != 0) else []


def box(start: Any, end: Any, colour: str):
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (start + 0.12, 0.12), end - start - 0.24, 0.76, boxstyle="round,pad=0,rounding_size=0.2", fill=False, ec=colour
    )


def reach(rows: list[dict]):
    """Row t: the weight of loss t at every earlier step."""
    columns = 3
    figure, grid = panels(-(-len(rows) // columns), columns, width=2.7, height=2.5, sharex=True, sharey=True)
    largest = max(np.max(np.asarray(row["weights"])) for row in rows)
    for axes, row in zip(grid.flat, rows):
        weights = np.asarray(row["weights"])
        image = axes.imshow(np.where(weights > 0, weights, np.nan), vmin=0, vmax=largest, cmap="viridis_r")
        axes.set_title(title(row), color=style_of(row["series"])["color"])
        axes.set_xticks(range(len(WORDS)), labels=WORDS, fontsize=5, family="monospace")
        axes.set_yticks(range(len(WORDS)), labels=WORDS, fontsize=5, family="monospace")
        axes.tick_params(length=0)
    for axes in grid[-1]:
        axes.set_xlabel("a step that credit reaches")
    for axes in grid[:, 0]:
        axes.set_ylabel("a loss")
    figure.colorbar(image, ax=grid, label="weight of the credit", shrink=0.6)
    return figure
