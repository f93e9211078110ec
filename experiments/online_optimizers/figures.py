"""Where training ends by each optimizer: a panel a task, every network a point."""

from functools import partial
from typing import Any

import polars as pl

from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.named import name_in
from tbptt_jax.plots.style import panels, style_of

GROUP = ["task", "optimizer", "series"]
WORDS = {"window(tau=1)": "one step alone", "rtrl()": "exact gradient"}


def draw(table: pl.DataFrame) -> dict:
    return {"losses": partial(losses, table)}


def losses(table: pl.DataFrame) -> Any:
    best = at_best_rate(table, GROUP, by="selection")
    tasks, optimizers, names = (
        best[name].unique(maintain_order=True).to_list() for name in ("task", "optimizer", "series")
    )
    figure, grid = panels(1, len(tasks), width=3.0, height=2.4)
    for axes, task in zip(grid[0], tasks):
        for i, name in enumerate(names):
            look = style_of(name) | {"linestyle": "none"}
            for x, optimizer in enumerate(optimizers):
                here = (pl.col("task") == task) & (pl.col("optimizer") == optimizer) & (pl.col("series") == name)
                values, place = best.filter(here)["report"], x + 0.25 * (i - (len(names) - 1) / 2)
                axes.plot([place] * len(values), values, **look | {"markersize": 3, "alpha": 0.4})
                label = WORDS.get(name, name) if x == 0 else None
                axes.plot(place, values.mean(), label=label, **look | {"markersize": 8})
        axes.set_xticks(range(len(optimizers)), labels=optimizers)
        axes.set_xlim(-0.5, len(optimizers) - 0.5)
        axes.set_title(name_in(task), fontsize=9)
    grid[0, 0].set_ylabel("loss on the report set (nats)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small")
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(best: pl.DataFrame) -> str:
    """How far one step alone ends above the exact gradient, by each optimizer."""
    means = best.group_by("optimizer", "task", "series", maintain_order=True).agg(pl.col("report").mean())
    ours, theirs = (means.filter(pl.col("series") == name) for name in WORDS)
    both = ours.join(theirs, on=["optimizer", "task"], maintain_order="left")
    if both.is_empty():
        return "Loss after one update a symbol, by the optimizer"
    lines = []
    for (optimizer,), rows in both.group_by("optimizer", maintain_order=True):
        parts = zip(rows["task"], rows["report"] / rows["report_right"] - 1)
        lines.append(f"{optimizer}: " + ", ".join(f"{part:+.0%} on {name_in(task)}" for task, part in parts))
    return "One step alone against the exact gradient, one update a symbol:\n" + "\n".join(lines)
