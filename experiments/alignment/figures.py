"""Cosines with the exact gradient during training, and of every pair of estimators at its end."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.plots.learning import curve
from tbptt_jax.plots.style import panels


def draw(table: pl.DataFrame) -> dict:
    return {"during_training": partial(during_training, table), "pairs": partial(pairs, table)}


def cells(table: pl.DataFrame):
    return table["cell"].unique(maintain_order=True).to_list()


def during_training(table: pl.DataFrame):
    columns = len(cells(table))
    figure, grid = panels(1, columns, width=3.4 + 2.6 / columns, height=3.4, sharey=True)  # and the legend beside
    for axes, cell in zip(grid[0], cells(table)):
        for (name,), rows in table.filter(pl.col("cell") == cell).group_by("series", maintain_order=True):
            curve(axes, rows, "curve_updates", "curve_cosine", name, name)
        axes.set(xlabel="updates of full backpropagation", title=cell, ylim=(-0.1, 1.05))
    grid[0, 0].set_ylabel("mean cosine with the exact gradient")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7)
    return figure


def pairs(table: pl.DataFrame):
    figure, grid = panels(1, len(cells(table)), width=4.6, height=4.4)
    for axes, cell in zip(grid[0], cells(table)):
        rows = table.filter((pl.col("cell") == cell) & (pl.col("replica") == 0))
        names = rows["method"].to_list()
        matrix = np.array(rows["pairs"].to_list())
        image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                axes.text(
                    j,
                    i,
                    f"{value:.1f}".replace("-0.0", "0.0"),
                    ha="center",
                    va="center",
                    fontsize=5.5,
                    color=ink(value),
                )
        axes.set_xticks(range(len(names)), labels=names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), labels=names, fontsize=7)
        axes.set_title(cell)
    figure.colorbar(image, ax=grid, label="mean cosine of two estimates", shrink=0.7)
    return figure


def ink(value: Any):
    """What can be read on the colour of a cosine."""
    return "white" if abs(value) > 0.65 else "black"
