"""The reported loss against updates at the best rate, the median network: a panel a task, a line for each way."""

from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.lab.table import named
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"losses": lambda: losses(table)}


def losses(table: pl.DataFrame) -> Any:
    table = needed(table, "trainings are needed").with_columns(named("task"))
    tasks = table["task"].unique(maintain_order=True).to_list()
    figure, (row,) = panels(1, len(tasks), width=2.5, height=2.6)
    for axes, task in zip(row, tasks):
        part = table.filter(pl.col("task") == task)
        best = at_best_rate(part, ["way", "method"], by="selection")
        for (way, method), curves in best.group_by("way", "method", maintain_order=True):
            updates, values = (np.array(curves[name].to_list()) for name in ("curve_updates", "curve_report"))
            look = style_of(str(method)) | {"marker": ""}
            if way != method:  # with a critic
                look |= {"linestyle": (0, (4, 1.5))}
            axes.plot(updates[0], np.median(values, 0), label=way, **look)
        axes.set_title(task, fontsize=9)
        axes.set_xlabel("updates")
    row[0].set_ylabel("loss on the report set, median\n(nats a step; adding: squares)", fontsize=8)
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def message(table: pl.DataFrame) -> str:
    """The reported losses of randomized truncation without and with a critic."""
    words = []
    rows = at_best_rate(table.filter(pl.col("method") == "randomized"), ["task", "way"], by="selection")
    medians = rows.group_by("task", critic=pl.col("way") != "randomized").agg(pl.col("report").median())
    for task in table["task"].unique(maintain_order=True):
        pair = medians.filter(pl.col("task") == task).sort("critic")["report"]
        if len(pair) == 2:
            words.append(f"{task} {pair[0]:.3f} → {pair[1]:.3f}")
    return "Loss of randomized truncation without → with a critic (median networks):\n" + ", ".join(words)
