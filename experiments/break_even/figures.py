"""n* against τ: a panel a task and unbiased truncation, a line for each biased one, darker the longer the training."""

from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.lab.claims import needed
from tbptt_jax.plots.along_tau import mark_taus, taus_of
from tbptt_jax.plots.style import panels, style_of

BATCHES = {1: "one sequence", 32: "a batch of 32", 1024: "a batch of 1,024"}
LEAST, MOST = 0.5, 1e5
"""What lies beyond is drawn at the edge."""


def draw(table: pl.DataFrame) -> dict:
    return {"sequences": lambda: sequences(table)}


def sequences(table: pl.DataFrame):
    table = needed(table.filter(pl.col("sequences").is_not_null()), "pairs of an unbiased and a biased estimator")
    tasks = table["task"].unique(maintain_order=True).to_list()
    places = table.select("cell", "series").unique(maintain_order=True).rows()
    stages = sorted(table["training"].unique())
    figure, grid = panels(len(places), len(tasks), width=3.0, height=2.4, sharey=True)
    for axes_row, (cell, ours) in zip(grid, places):
        for axes, task in zip(axes_row, tasks):
            here = (pl.col("task") == task) & (pl.col("cell") == cell) & (pl.col("series") == ours)
            part = table.filter(here)
            for (theirs, training), rows in part.group_by("against", "training", maintain_order=True):
                one_line(axes, rows, theirs, stages.index(training), stages)
            for batch, words in BATCHES.items():
                axes.axhline(batch, color="0.6", linewidth=0.7, zorder=0)
                place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
                axes.annotate(words, (1, batch), fontsize=6.5, color="0.4", **place)
            axes.set(yscale="log", ylim=(LEAST / 1.5, MOST * 1.5))
            axes.set_title(f"{ours}, {task.partition('(')[0]} ({cell})", fontsize=8.5)
            mark_taus(axes, taus_of(part))
        axes_row[0].set_ylabel("sequences an update: n*")
    for axes in grid[-1]:
        axes.set_xlabel("length of the truncation: τ")
    title = "Above its line, unbiased truncation has the smaller error\n(at the upper edge: never, as far as is seen)"
    figure.suptitle(title, fontsize=9.5, x=0.02, ha="left")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    return figure


def one_line(axes: Any, rows: pl.DataFrame, theirs: str, stage: int, stages: list[int]) -> None:
    """n* against one biased truncation at one stage of the training: the median over seeds, the widest interval."""
    ends = [pl.col("low").min(), pl.col("sequences").median(), pl.col("high").max()]
    across = rows.group_by("tau").agg(*ends).sort("tau")
    low, middle, high = (across[name].clip(LEAST, MOST).to_numpy() for name in ("low", "sequences", "high"))
    look = style_of(theirs) | {"alpha": 0.3 + 0.7 * (stage + 1) / len(stages), "linewidth": 0.8 + 0.5 * stage}
    shift = 1.04 ** (stage - (len(stages) - 1) / 2 + (0.4 if theirs.startswith("window") else 0))
    label = f"against {theirs}, after {stages[stage]:,} updates"
    spread = np.stack([middle - low, high - middle])
    axes.errorbar(across["tau"] * shift, middle, spread, capsize=1.5, elinewidth=0.7, label=label, **look)
