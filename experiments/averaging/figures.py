"""The last loss of each method against the batch: a panel a task, the mean over seeds and its interval."""

from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.intervals import ERROR, half_width
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.named import name_in
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"losses": lambda: losses(table)}


def losses(table: pl.DataFrame) -> Any:
    table = needed(table.filter(pl.col("tau").is_null() | (pl.col("tau") == table["tau"].min())), "trainings")
    tasks = table["task"].unique(maintain_order=True).to_list()
    figure, (row,) = panels(1, len(tasks), width=2.9, height=2.6)
    for axes, task in zip(row, tasks):
        one_task(axes, table.filter(pl.col("task") == task))
        axes.set_title(name_in(task), fontsize=9)
        axes.set_xlabel("sequences an update")
    row[0].set_ylabel("loss on the report set (nats a step)")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def one_task(axes: Any, rows: pl.DataFrame) -> None:
    """Lines of one task, each named at its right end."""
    ends = []
    for series in rows["series"].unique(maintain_order=True):
        line = at_best_rate(rows.filter(pl.col("series") == series), ["batch"], by="selection")
        across = line.group_by("batch").agg(pl.col("report").mean().alias("mean"), pl.col("report").std(), pl.len())
        across = across.sort("batch")
        halves = [half_width(n, s, ERROR) if n > 2 else 0.0 for n, s in across.select("len", "report").rows()]
        look = style_of(series)
        axes.errorbar(across["batch"], across["mean"], np.nan_to_num(halves, posinf=0), capsize=2, **look)
        ends.append((across["mean"][-1], series, look["color"]))
    batches = sorted(rows["batch"].unique())
    axes.set(xscale="log", xticks=batches, xticklabels=[str(batch) for batch in batches], xlim=(0.7, batches[-1] * 6))
    axes.minorticks_off()
    low, high = axes.get_ylim()
    place = -np.inf
    for value, series, colour in sorted(ends):  # names that would lie on each other are moved up
        place = max(value, place + 0.055 * (high - low))
        axes.annotate(series, (batches[-1] * 1.2, place), color=colour, fontsize=7.5, va="center")


def message(table: pl.DataFrame) -> str:
    """What came out, as a sentence with its figures."""
    largest = table["batch"].max()
    words = []
    for task in table["task"].unique(maintain_order=True):
        means = {}
        for series in ("segment", "randomized"):
            rows = table.filter((pl.col("task") == task) & (pl.col("series") == series))
            if not rows.is_empty():
                means[series] = (
                    at_best_rate(rows, ["batch"], by="selection").filter(pl.col("batch") == largest)["report"].mean()
                )
        if len(means) == 2:
            words.append(f"{name_in(task)} {means['segment']:.3g} → {means['randomized']:.3g}")
    return f"Loss in batches of {largest}, from segments to unbiased gates of their mean length:\n" + ", ".join(words)
