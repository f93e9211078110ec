"""Perplexity of copying for every truncation, a panel a task, the published values as ticks beside ours."""

from functools import partial
from typing import Any

import polars as pl

from tbptt_jax.experiments.copy.measure import GROUP
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.style import panels, style_of

DELTAS = {f"adaptive_rolling(delta={delta}, longest=30, shortest=5)": delta for delta in (0.9, 0.5, 0.1)}
PUBLISHED = {  # by K, or by δ
    "copy()": {5: 1.646, 10: 1.036, 15: 1.039, 20: 1.040, 30: 1.043, 0.9: 1.022, 0.5: 1.027, 0.1: 1.030},
    "copy(shortest=5)": {5: 1.47, 10: 1.39, 15: 1.37, 20: 1.35, 30: 1.31, 0.9: 1.35, 0.5: 1.32, 0.1: 1.29},
}
WORDS = {"copy()": "lines of one length", "copy(shortest=5)": "lines of several lengths"}


def draw(table: pl.DataFrame) -> dict:
    return {"perplexity": partial(perplexity, table)}


def perplexity(table: pl.DataFrame):
    best = at_best_rate(table, GROUP, by="selection").sort("tau", "series", descending=[False, True], nulls_last=True)
    tasks = best["task"].unique(maintain_order=True).to_list()
    figure, grid = panels(1, len(tasks), width=4.3, height=3.4, sharey=True)
    for axes, task in zip(grid[0], tasks):
        part = best.filter(pl.col("task") == task)
        names = []
        for place, ((series, tau), rows) in enumerate(part.group_by(["series", "tau"], maintain_order=True)):
            names.append(short_name(series, tau))
            look = style_of(series) | {"linestyle": "none"}
            axes.plot([place] * rows.height, rows["perplexity"], **look | {"markersize": 3, "alpha": 0.5})
            axes.plot(place, rows["perplexity"].median(), **look | {"markersize": 7, "markerfacecolor": "none"})
            published = PUBLISHED.get(task, {}).get(tau if series == "rolling" else DELTAS.get(series))
            if published:
                axes.plot([place - 0.35, place + 0.35], [published] * 2, color="black", linewidth=1.6)
        axes.axhline(part["blind"][0], color="0.4", linewidth=0.8, linestyle=":")
        axes.annotate("without recall", (0, part["blind"][0]), fontsize=7, color="0.4", va="bottom")
        axes.set_xticks(range(len(names)), labels=names, rotation=40, ha="right", fontsize=7.5)
        axes.set(yscale="log", title=f"{WORDS.get(task, task)}\n{best_of(part)}")
        axes.set_yticks([1, 1.2, 1.5, 2], labels=["1", "1.2", "1.5", "2"])
        axes.minorticks_off()
    grid[0, 0].set_ylabel("perplexity on the report set")
    figure.suptitle(
        "Copying by truncations of K\n(medians of networks; black: as published)", fontsize=9.5, x=0.02, ha="left"
    )
    return figure


def short_name(series: str, tau: int | None) -> str:
    if series in DELTAS:
        return f"adaptive, δ = {DELTAS[series]}"
    return f"K = {tau}" if series == "rolling" else f"{series} {tau or ''}"


def best_of(part: pl.DataFrame) -> str:
    """The medians of the best fixed truncation of a task, and of the best adaptive one."""

    def middle(method: str) -> Any:
        rows = part.filter(pl.col("method") == method)
        return rows.group_by("series", "tau").agg(pl.col("perplexity").median())["perplexity"].min()

    found = {"best K": middle("rolling"), "best adaptive": middle("adaptive_rolling")}
    return ", ".join(f"{name} {perplexity:.2f}" for name, perplexity in found.items() if perplexity is not None)
