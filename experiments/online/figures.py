"""Loss against symbols; at the end, against the numbers that are carried and against alignment: a row a task."""

from functools import partial
from typing import Any

import polars as pl

from tbptt_jax.experiments.online.measure import GROUP
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.learning import curve
from tbptt_jax.plots.style import panels, style_of

SHOWN = ("window", "rtrl", "snap", "uoro", "kf_rtrl", "rolling", "dni")
"""Methods that get a line; all are in the other panels."""


def draw(table: pl.DataFrame) -> dict:
    return {"losses": partial(losses, table)}


def losses(table: pl.DataFrame) -> Any:
    best = at_best_rate(table, GROUP, by="selection").sort("cell", "series")
    tasks = best["task"].unique(maintain_order=True).sort().to_list()
    figure, grid = panels(len(tasks), 3, width=3.2, height=2.5)
    for axes_row, task in zip(grid, tasks):
        part = best.filter(pl.col("task") == task)
        for (method, cell), rows in part.group_by(["method", "cell"], maintain_order=True):
            name, look = label(method, cell), style_of(method)
            if method in SHOWN or cell != "tanh":
                curve(axes_row[0], rows, "curve_seen", "curve_report", method, name, **line(cell))
            for axes, column in zip(axes_row[1:], ("carried", "cosine")):
                point = rows[column].mean(), rows["report"].mean()
                axes.plot(*point, **look | {"linestyle": "none", "markersize": 4})
                axes.annotate(name, point, xytext=(3, 2), textcoords="offset points", fontsize=6)
        floors = [part[name][0] for name in ("best", "blind") if name in part.columns and part[name][0] is not None]
        for axes in axes_row:
            for value, style in zip(floors, ("-", ":")):
                axes.axhline(value, color="black", linewidth=0.7, linestyle=style)
        axes_row[0].set(xlabel="symbols seen", ylabel=f"{task.partition('(')[0]}\nloss on the report set (nats)")
        axes_row[1].set(xlabel="numbers carried from symbol to symbol", xscale="log")
        axes_row[2].set(xlabel="cosine with the exact gradient")
        axes_row[0].legend(fontsize=6)
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def label(method: Any, cell: Any) -> str:
    words = {"window": "one step alone", "rolling": "8 steps, every symbol", "segment": "8 steps, every 8th"}
    return words.get(method, method) + ("" if cell == "tanh" else f", {cell}")


def line(cell: Any) -> dict:
    return {"linewidth": 1.1} | ({} if cell == "tanh" else {"linestyle": "--"})


def message(best: pl.DataFrame) -> str:
    words = []
    for (task,), rows in best.filter(pl.col("cell") == "tanh").group_by("task", maintain_order=True):
        means = dict(rows.group_by("method").agg(pl.col("report").mean()).rows())
        found = [
            f"{label(name, 'tanh')} {means[name]:.3g}" for name in ("window", "uoro", "snap", "rtrl") if name in means
        ]
        words.append(f"{str(task).partition('(')[0]}: " + ", ".join(found))
    return "Loss after one update a symbol.\n" + "\n".join(words)
