"""The chapter's picture: the words in pieces, and beneath them how far and how strongly each loss reaches back."""

from itertools import pairwise

import numpy as np
import polars as pl

from tbptt_jax.plots.style import panels, style_of

WORDS = "the time machine by h g wells"


def draw(table: pl.DataFrame) -> dict:
    rows = list(table.iter_rows(named=True))
    return {"pieces": pieces(rows), "reach": reach(rows)}


def title(row):
    return row["estimator"] + (f" (τ = {row['tau']})" if row.get("tau") else "")


def pieces(rows):
    """Steps in one box are joined by credit from a step to the one before."""
    rows = [row for row in rows if not row["estimator"].startswith(("window", "buffered"))]
    figure, grid = panels(len(rows), 1, width=7.4, height=0.62)
    for axes, row in zip(grid[:, 0], rows):
        weights = np.asarray(row["weights"])
        joined = weights[np.arange(1, len(weights)), np.arange(len(weights) - 1)]
        starts = [0, *(np.flatnonzero(joined == 0) + 1), len(weights)]
        colour = style_of(row["estimator"])["color"]
        for start, end in pairwise(starts):
            axes.add_patch(box(start, end, colour))
        for i, letter in enumerate(WORDS):
            axes.text(i + 0.5, 0.5, letter, ha="center", va="center", family="monospace", fontsize=11)
        axes.set(xlim=(0, len(WORDS)), ylim=(0, 1), yticks=[], xticks=[])
        axes.set_title(title(row), color=colour)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def box(start, end, colour):
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (start + 0.12, 0.12), end - start - 0.24, 0.76, boxstyle="round,pad=0,rounding_size=0.2", fill=False, ec=colour
    )


def reach(rows):
    """Row t: the weight of loss t at every earlier step."""
    columns = 3
    figure, grid = panels(-(-len(rows) // columns), columns, width=2.7, height=2.5, sharex=True, sharey=True)
    largest = max(np.max(np.asarray(row["weights"])) for row in rows)
    for axes, row in zip(grid.flat, rows):
        weights = np.asarray(row["weights"])
        image = axes.imshow(np.where(weights > 0, weights, np.nan), vmin=0, vmax=largest, cmap="viridis_r")
        axes.set_title(title(row), color=style_of(row["estimator"])["color"])
        axes.set_xticks(range(len(WORDS)), labels=WORDS, fontsize=5, family="monospace")
        axes.set_yticks(range(len(WORDS)), labels=WORDS, fontsize=5, family="monospace")
        axes.tick_params(length=0)
    for axes in grid[-1]:
        axes.set_xlabel("a step that credit reaches")
    for axes in grid[:, 0]:
        axes.set_ylabel("a loss")
    figure.colorbar(image, ax=grid, label="weight of the credit", shrink=0.6)
    return figure
