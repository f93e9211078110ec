"""Perplexity of copying: against updates, and at the end for every window, a row a task."""

from functools import partial

import numpy as np
import polars as pl

from tbptt_jax.experiments.copy.measure import GROUP
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.learning import curve, shades
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"perplexity": partial(perplexity, table)}


def perplexity(table: pl.DataFrame):
    best = at_best_rate(table, GROUP).sort("tau", "series", nulls_last=True)
    tasks = best["task"].unique(maintain_order=True).to_list()
    figure, grid = panels(len(tasks), 2, width=4.0, height=2.7, sharey="row")
    for (left, right), task in zip(grid, tasks):
        part = best.filter(pl.col("task") == task)
        kinds = [key for key, _ in part.group_by(["series", "tau"], maintain_order=True)]
        line_of = shades(range(len(kinds)))
        labels = []
        for i, ((name, tau), rows) in enumerate(part.group_by(["series", "tau"], maintain_order=True)):
            labels.append(f"{name}, τ = {tau}" if tau else name.replace(", longest=30, shortest=5", ""))
            look = {"transform": np.exp, "linestyle": line_of[i]}
            curve(left, rows, "curve_updates", "curve_held_out", name, labels[-1], **look)
            right.plot([i] * rows.height, rows["perplexity"], linestyle="none", **style_of(name))
        for axes in (left, right):
            axes.axhline(part["blind"][0], color="black", linewidth=0.8, linestyle=":")
        left.set(xlabel="updates", ylabel="held-out perplexity", yscale="log", title=task)
        left.set_ylim(0.97, 1.3 * part["blind"][0])
        left.set_yticks([1, 1.2, 1.5, 2], labels=["1", "1.2", "1.5", "2"])
        left.minorticks_off()
        right.set_xticks(range(len(labels)), labels=labels, rotation=40, ha="right", fontsize=7)
        right.set_title("at the end, each seed (dotted: without recall)", fontsize=8)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
    return figure
