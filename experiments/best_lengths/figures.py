"""Variance against memory, and the laws behind it: a panel for a task and a kind of memory."""

from collections.abc import Callable
from typing import Any

import polars as pl

from tbptt_jax.experiments.best_lengths.measure import BEST
from tbptt_jax.experiments.break_even.figures import over_networks
from tbptt_jax.lab.claims import needed
from tbptt_jax.named import name_in
from tbptt_jax.plots.along_tau import mark_taus, taus_of
from tbptt_jax.plots.style import panels, style_of

NAMES = {"randomized": "equal gates", "by_age": "rest, then equal", "optimal": "best places"}
WORDS = {"averaged": "states on average", "longest": "longest stretch"}
FINE = [0.4, 0.6, 0.8, 1, 1.5, 2]
FIRST = 4
"""Steps of a segment that a title speaks of."""


def draw(table: pl.DataFrame) -> dict:
    return {"variance": lambda: variance(table), "cuts": lambda: cuts(table)}


def variance(table: pl.DataFrame) -> Any:
    """Over that of equal gates, network by network: the median and the middle half."""
    figure, grid = panel_for_each(table, over_equal_gates, "variance / of equal gates")
    for axes in grid.flat:
        axes.set(yscale="log")
        low, high = axes.get_ylim()
        if high < 10 * low:
            axes.set_yticks(FINE, labels=map(str, FINE), minor=False)
            axes.set_ylim(low, high)
        mark_taus(axes, taus_of(table))
    for axes in grid[-1]:
        axes.set_xlabel("states kept")
    finish(figure, grid, message(table))
    return figure


def over_equal_gates(axes: Any, rows: pl.DataFrame) -> None:
    equal = rows.filter(pl.col("series") == "randomized").select("seed", "tau", pl.col("variance").alias("equal"))
    rows = needed(rows.join(equal, on=["seed", "tau"]), "randomized")
    axes.axhline(1, color=style_of("randomized")["color"], linewidth=1.2, label=NAMES["randomized"])
    for (series,), part in rows.filter(pl.col("series") != "randomized").group_by("series", maintain_order=True):
        part = part.with_columns((pl.col("variance") / pl.col("equal")).alias("ratio"))
        over_networks(axes, part, "ratio", look_of(str(series)), name_of(str(series)))


def cuts(table: pl.DataFrame) -> Any:
    """The chance of a cut against the age of a segment, with the most states: medians of networks."""
    most = table.filter((pl.col("tau") == pl.col("tau").max().over("task", "memory")) & pl.col("cut").is_not_null())
    figure, grid = panel_for_each(needed(most, "a law of lengths"), by_age, "chance of a cut")
    for axes in grid[-1]:
        axes.set_xlabel("steps since the last cut")
    finish(figure, grid, ended(most))
    return figure


def by_age(axes: Any, rows: pl.DataFrame) -> None:
    axes.text(0.98, 0.96, f"{rows['tau'][0]} states", transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
    for (series,), part in rows.group_by("series", maintain_order=True):
        ages = part.select(pl.col("cut"), pl.int_ranges(1, pl.col("cut").list.len() + 1).alias("age")).explode(
            "cut", "age"
        )
        middle = ages.group_by("age").agg(pl.col("cut").median()).sort("age")
        axes.plot(middle["age"], middle["cut"], label=name_of(str(series)), **look_of(str(series)) | {"marker": ""})


def ended(table: pl.DataFrame) -> str:
    """How many segments end in their first steps, in the middle of networks and kinds of memory."""
    chances = 1 - (1 - pl.element()).product()
    early = table.with_columns(pl.col("cut").list.head(FIRST).list.eval(chances).list.first().alias("early"))
    medians = early.group_by("task", "series", maintain_order=True).agg((100 * pl.col("early").median()).alias("early"))
    words = []
    for (task,), rows in medians.group_by("task", maintain_order=True):
        of = dict(rows.select("series", "early").rows())
        if BEST in of and "artbp" in of:
            words.append(f"{of[BEST]:.0f} % on {name_in(str(task))} (artbp {of['artbp']:.0f} %)")
    said = f"Of segments, the best law of lengths ends within {FIRST} steps:\n"
    return said + ", ".join(words) if words else "When a segment is cut, by how long it has lasted"


def panel_for_each(table: pl.DataFrame, one: Callable[[Any, pl.DataFrame], None], label: str) -> tuple[Any, Any]:
    """A row of panels for a kind of memory, a column for a task."""
    tasks, memories = (table[name].unique(maintain_order=True).to_list() for name in ("task", "memory"))
    figure, grid = panels(len(memories), len(tasks), width=2.7, height=2.1, sharex="col", sharey="col")
    for line, memory in zip(grid, memories):
        for axes, task in zip(line, tasks):
            one(axes, table.filter((pl.col("task") == task) & (pl.col("memory") == memory)))
        line[0].set_ylabel(f"{label}\n(equal {WORDS[memory]})", fontsize=8)
    for axes, task in zip(grid[0], tasks):
        axes.set_title(name_in(task), fontsize=9)
    return figure, grid


def finish(figure: Any, grid: Any, title: str) -> None:
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle(title, fontsize=9.5, x=0.02, ha="left")


def look_of(series: str) -> dict[str, Any]:
    return {"color": "black", "marker": "."} if series == BEST else style_of(series)


def name_of(series: str) -> str:
    return NAMES.get(series, series)


def message(table: pl.DataFrame) -> str:
    """What is left of the variance of equal gates with the best lengths, over all memories, in the middle."""
    at = ["task", "memory", "tau", "seed"]
    equal, best = (
        needed(table.filter(pl.col("series") == series), series).select(*at, pl.col("variance").alias(series))
        for series in ("randomized", BEST)
    )
    rows = best.join(equal, on=at).with_columns((100 * pl.col(BEST) / pl.col("randomized")).alias("left"))
    medians = rows.group_by("task", maintain_order=True).agg(pl.col("left").median()).rows()
    said = ", ".join(f"{left:.2g} % on {name_in(task)}" for task, left in medians)
    return f"At equal memory the best lengths leave, of the variance of equal gates:\n{said}"
