"""n* against the states that are kept: a panel for a task and a biased truncation, a line for each unbiased one."""

from typing import Any

import polars as pl

from tbptt_jax.experiments.break_even.figures import NO_BATCH, axis_of_sequences, mark_exact, over_networks
from tbptt_jax.experiments.break_even.words import plural
from tbptt_jax.lab.claims import needed
from tbptt_jax.named import name_in
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"memory": lambda: memory(table)}


def memory(table: pl.DataFrame) -> Any:
    """Over networks, the median and the middle half."""
    table = needed(table.filter(pl.col("against").is_not_null()), "an unbiased truncation and a biased one")
    tasks, sides = (table[name].unique(maintain_order=True).to_list() for name in ("task", "against"))
    figure, grid = panels(len(sides), len(tasks), width=2.9, height=1.65, sharex=True, sharey=True)
    for line, side in zip(grid, sides):
        for axes, task in zip(line, tasks):
            rows = table.filter((pl.col("task") == task) & (pl.col("against") == side))
            one_panel(axes, rows, name_batches=axes is line[-1])
        line[0].set_ylabel("n* against\n" + plural(side).replace(" from", "\nfrom"), fontsize=7.5)
    for axes, task in zip(grid[0], tasks):
        axes.set_title(name_in(task), fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("states kept at once")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small", handlelength=3)
    return figure


def one_panel(axes: Any, rows: pl.DataFrame, *, name_batches: bool) -> None:
    axis_of_sequences(axes, name_batches=name_batches)
    for (series,), part in rows.group_by("series", maintain_order=True):
        over_networks(axes, part, "by_error", style_of(str(series)), str(series))
    mark_exact(axes, rows)


def message(table: pl.DataFrame) -> str:
    """From how many sequences on the best of the unbiased truncations beats segments of as many states (medians)."""
    middle = table["tau"].unique().sort()[table["tau"].n_unique() // 2]
    rows = table.filter((pl.col("against") == "segment") & (pl.col("tau") == middle))
    medians = rows.group_by("task", "series", maintain_order=True).agg(pl.col("by_error").median())
    words = []
    for task in medians["task"].unique(maintain_order=True):
        series, n = medians.filter(pl.col("task") == task).sort("by_error").select("series", "by_error").row(0)
        words.append(f"{f'{n:,.0f} ({series})' if n < NO_BATCH else 'none'} on {name_in(task)}")
    return (
        f"With {middle} states, unbiased truncation beats segments from n* sequences an update on:\n{', '.join(words)}"
    )
