"""Loss against symbols; at the end, against the numbers that are carried and against alignment: a row a task."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.online.measure import GROUP
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.names import Named, name_at_the_right
from tbptt_jax.plots.style import panels, style_of

WORDS = {
    "window": "one step alone",
    "rolling": "8 steps back, every symbol",
    "segment": "8 steps, every 8th symbol",
    "kf_rtrl": "kf-rtrl",
}
SHOWN = ("window", "rtrl", "snap", "uoro", "kf_rtrl", "rolling")
"""Methods that get a line; all have a point."""


def draw(table: pl.DataFrame) -> dict:
    return {"losses": partial(losses, table)}


def losses(table: pl.DataFrame) -> Any:
    best = at_best_rate(table, GROUP, by="selection").sort("task", "cell", "series")
    tasks = best["task"].unique(maintain_order=True).to_list()
    figure, grid = panels(len(tasks), 3, width=2.9, height=2.5)
    for axes_row, task in zip(grid, tasks):
        part = best.filter(pl.col("task") == task)
        ends = []
        for (method, cell), rows in part.group_by(["method", "cell"], maintain_order=True):
            look = style_of(method)
            if method in SHOWN and cell == "tanh":
                middle = np.median(np.array(rows["curve_report"].to_list()), axis=0)
                axes_row[0].plot(rows["curve_seen"][0], middle, color=look["color"], linewidth=1.2)
            loss, filled = rows["report"].mean(), look["color"] if cell == "tanh" else "white"
            for axes, column in zip(axes_row[1:], ("carried", "cosine")):
                point = look | {"linestyle": "none", "markersize": 5, "markerfacecolor": filled}
                axes.plot(rows[column].mean(), loss, **point)
            ends.append(Named(loss, rows["cosine"].mean(), label(method, cell), look["color"]))
        for name, style in {"best": "-", "blind": ":"}.items():
            if name in part.columns and part[name][0] is not None:
                for axes in axes_row:
                    axes.axhline(part[name][0], color="black", linewidth=0.7, linestyle=style)
        top, bottom = max(ends).y, min(ends).y
        for axes in axes_row:
            axes.set_ylim(bottom - 0.08 * (top - bottom), top + 0.08 * (top - bottom))
        axes_row[0].set(xlabel="symbols seen", ylabel=f"{task.partition('(')[0]}\nloss on the report set (nats)")
        axes_row[1].set(xlabel="numbers carried from symbol to symbol", xscale="log")
        axes_row[2].set(xlabel="cosine with the exact gradient", xlim=(0, 1.04))
        name_at_the_right(axes_row[2], ends)
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def label(method: Any, cell: Any) -> str:
    return WORDS.get(method, method) + ("" if cell == "tanh" else f", {cell}")


def message(best: pl.DataFrame) -> str:
    words = []
    for (task,), rows in best.filter(pl.col("cell") == "tanh").group_by("task", maintain_order=True):
        means = dict(rows.group_by("method").agg(pl.col("report").mean()).rows())
        found = [f"{label(name, 'tanh')} {means[name]:.3g}" for name in SHOWN[:4] if name in means]
        words.append(f"{str(task).partition('(')[0]}: " + ", ".join(found))
    return "Loss after one update a symbol.  " + "\n".join(words)
