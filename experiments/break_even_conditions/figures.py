"""n* of one length of truncation: a row of panels a task, a panel for each thing that is changed."""

from typing import Any

import polars as pl

from tbptt_jax.experiments.break_even.figures import axis_of_sequences
from tbptt_jax.experiments.break_even.measure import MOST
from tbptt_jax.experiments.break_even_conditions.conditions import AS_DRAWN, ORDINARY, of
from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.table import named
from tbptt_jax.plots.style import panels, style_of

RADII = {0.6: "0.6", AS_DRAWN: "as drawn", 1.4: "1.4"}
LENGTHS = {0.5: "half", 1.0: "as usual", 2.0: "twice"}
CHANGES = {  # in words, the rows of each of their values
    "the cell": {cell: of(cell=cell) & (pl.col("times") == 1) for cell in ("tanh", "gru", "lstm")},
    "the radius, before training": {
        words: of(training=0, radius=radius) & (pl.col("times") == 1) for radius, words in RADII.items()
    },
    "updates of training": {f"{u:,}": of(training=u) & (pl.col("times") == 1) for u in (0, 100, 1000)},
    "the length of sequences": {words: of() & (pl.col("times") == times) for times, words in LENGTHS.items()},
}


def draw(table: pl.DataFrame) -> dict:
    return {"conditions": lambda: conditions(table)}


def conditions(table: pl.DataFrame) -> Any:
    rows = needed(table.filter(pl.col("against") == "segment"), "an unbiased truncation, and segments")
    name = named("task")
    usual = name.replace_strict(ORDINARY.length, default=pl.col("length"), return_dtype=pl.Int64)
    rows = rows.with_columns(name.alias("name"), (pl.col("length") / usual).alias("times"))
    tasks = rows["name"].unique(maintain_order=True).to_list()
    figure, grid = panels(len(tasks), len(CHANGES), width=2.2, height=2.1, sharey=True, sharex="col")
    for line, task in zip(grid, tasks):
        of_task = rows.filter(pl.col("name") == task)
        for axes, settings in zip(line, CHANGES.values()):
            one_panel(axes, of_task, settings, name_batches=axes is line[-1])
        line[0].set_ylabel(f"{task}: n*")
    for axes, title in zip(grid[0], CHANGES):
        axes.set_title(title, fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small")
    figure.suptitle(message(rows), fontsize=9.5, x=0.02, ha="left")
    return figure


def one_panel(axes: Any, rows: pl.DataFrame, settings: dict[str, pl.Expr], *, name_batches: bool) -> None:
    """Of every unbiased truncation the median, and each network as a dash."""
    axis_of_sequences(axes, name_batches=name_batches)
    methods = rows["method"].unique(maintain_order=True).to_list()
    for shift, method in enumerate(methods):
        found = [rows.filter(where & (pl.col("method") == method))["by_error"] for where in settings.values()]
        places = [i + 0.16 * (shift - (len(methods) - 1) / 2) for i in range(len(found))]
        there = [(place, values) for place, values in zip(places, found) if len(values)]
        look = style_of(method)
        medians = [values.median() for _, values in there]
        axes.plot([x for x, _ in there], medians, label=f"{method} against segments", **look)
        for x, values in there:
            axes.plot([x] * len(values), values, "_", color=look["color"], alpha=0.45, markersize=5)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_xticks(range(len(settings)), labels=list(settings))


def message(rows: pl.DataFrame) -> str:
    """The span of the medians of each task, over all that is changed."""
    settings = rows.group_by("name", "task", "cell", "radius", "training", "method", maintain_order=True)
    medians = settings.agg(pl.col("by_error").median())
    words = []
    for task in medians["name"].unique(maintain_order=True):
        ends = medians.filter(pl.col("name") == task)["by_error"]
        words.append(f"{number(ends.min())} to {number(ends.max())} on {task}")
    return (
        "Unbiased truncation has a smaller squared error than segments from n* sequences an update on:\n"
        f"{', '.join(words)}, by one change at a time (medians)"
    )


def number(value: Any) -> str:
    return "never" if value >= MOST else f"{value:,.0f}"
