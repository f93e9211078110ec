"""What is learned against the length of truncation: a panel for each task and cell."""

from functools import partial

import polars as pl

from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.style import panels


def draw(table: pl.DataFrame) -> dict:
    return {"learned": partial(learned, table)}


def learned(table: pl.DataFrame):
    best = at_best_rate(table, ["task", "cell", "series", "tau"])
    tasks, cells = (best[name].unique(maintain_order=True).to_list() for name in ("task", "cell"))
    figure, grid = panels(len(cells), len(tasks), width=2.3, height=2.2, sharey=True)
    for axes_row, cell in zip(grid, cells):
        for axes, task in zip(axes_row, tasks):
            part = best.filter((pl.col("task") == task) & (pl.col("cell") == cell)).sort("tau")
            for i, ((name,), rows) in enumerate(part.group_by("series", maintain_order=True)):
                along_tau(axes, rows, "learned", name, shift=1.06 ** (i - 2))
            needed = part["sees_all_from"][0]
            axes.axvline(needed, color="black", linewidth=0.7, linestyle=":")
            axes.annotate(f"{needed}", (needed, 1.06), fontsize=7, ha="center")
            axes.axhline(0, color="gray", linewidth=0.6)
            axes.set(ylim=(-0.25, 1.15))
            axes.set_title(f"{task}, {cell}", fontsize=8)
            mark_taus(axes, taus_of(part))
        axes_row[0].set_ylabel("part of the blind loss removed")
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(6, 2 * len(tasks)), fontsize="small")
    return figure
