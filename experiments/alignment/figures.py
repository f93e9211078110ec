"""Cosines with the exact gradient over training, and of every pair of estimators at its end."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.alignment.claims import CRITIC
from tbptt_jax.plots.style import panels

COLOURS = {"never": "#D55E00", "chunk": "#0072B2", "stream": "#009E73"}
READABLE = 12
"""Estimators whose cosines can be written into the squares."""
WORDS = {"never": "biased", "chunk": "unbiased for its chunk", "stream": "unbiased for the stream"}


def draw(table: pl.DataFrame) -> dict:
    return {"ranking": partial(ranking, table), "pairs": partial(pairs, table)}


def cells(table: pl.DataFrame):
    return table["cell"].unique(maintain_order=True).to_list()


def ranking(table: pl.DataFrame):
    """A line an estimator: the mean cosine of every network during training, and the mean of all."""
    figure, (row,) = panels(1, len(cells(table)), width=3.9, height=0.17 * table["series"].n_unique() + 0.9)
    for axes, cell in zip(row, cells(table)):
        rows = table.filter(pl.col("cell") == cell)
        across = rows.group_by("series", "unbiased").agg(pl.col("mean").mean()).sort("mean")
        for place, (series, promise, mean) in enumerate(across.rows()):
            ones = rows.filter(pl.col("series") == series)["mean"]
            axes.plot(ones, [place] * len(ones), "|", color=COLOURS[promise], markersize=4, alpha=0.5)
            axes.plot(mean, place, "o", color=COLOURS[promise], markersize=4, label=WORDS[promise])
        axes.axvline(0, color="0.6", linewidth=0.7)
        axes.set_yticks(range(across.height), labels=[short(name) for name in across["series"]], fontsize=6.5)
        axes.set(xlabel="mean cosine with the gradient", xlim=(-0.1, 1.03))
        axes.set_title(cell)
    handles, labels = row[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle("How near one estimate is to the gradient of its batch", fontsize=9.5, x=0.02, ha="left")
    return figure


def pairs(table: pl.DataFrame):
    figure, grid = panels(1, len(cells(table)), width=4.9, height=4.9)
    for axes, cell in zip(grid[0], cells(table)):
        rows = table.filter(
            (pl.col("cell") == cell) & (pl.col("replica") == 0) & (pl.col("seed") == pl.col("seed").min())
        )
        names = [short(series) for series in rows["series"]]
        matrix = np.array(rows["pairs"].to_list())
        image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
        for i, row in enumerate(matrix if len(names) <= READABLE else []):
            for j, value in enumerate(row):
                said = f"{value:.1f}".replace("-0.0", "0.0")
                axes.text(j, i, said, ha="center", va="center", fontsize=5.5, color=ink(value))
        axes.set_xticks(range(len(names)), labels=names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), labels=names, fontsize=6)
        axes.set_title(cell)
    figure.colorbar(image, ax=grid, label="mean cosine of two estimates", shrink=0.6)
    figure.suptitle(
        "How near an estimate is to that of another method, on the same batch", fontsize=9.5, x=0.02, ha="left"
    )
    return figure


def short(series: str) -> str:
    """Short enough for a tick."""
    return series.replace(f", {CRITIC}", "") + " + critic" if CRITIC in series else series


def ink(value: Any):
    """What can be read on the colour of a cosine."""
    return "white" if abs(value) > 0.65 else "black"
