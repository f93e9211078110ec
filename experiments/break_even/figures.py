"""n* against τ: a panel a task, a row for each of its two meanings, a line for each pair of truncations; and the τ from
which on an exact gradient with checkpoints keeps no more states than segments do."""

from typing import Any

import polars as pl

from tbptt_jax.experiments.break_even.measure import LEAST, MOST
from tbptt_jax.experiments.break_even.words import plural
from tbptt_jax.gradients.cuts.schedule import kept
from tbptt_jax.lab.claims import needed
from tbptt_jax.named import name_in
from tbptt_jax.plots.along_tau import mark_taus, taus_of
from tbptt_jax.plots.style import panels, style_of

BATCHES = {1: "one sequence", 32: "a batch of 32", 1024: "a batch of 1,024"}
MEANINGS = {
    "by_error": "smaller squared error\nfrom n* sequences on",
    "by_efficiency": "a better step\nfrom n* sequences on",
}
NO_BATCH = 1e5
DASHES = {"randomized": "-", "artbp": (0, (4, 1.5))}


def draw(table: pl.DataFrame) -> dict:
    return {"sequences": lambda: sequences(table)}


def sequences(table: pl.DataFrame) -> Any:
    """Over networks after training, the median and the middle half."""
    table = needed(table.filter(pl.col("tau").is_not_null()), "an unbiased truncation and a biased one, with a τ")
    trained = table.filter(pl.col("training") > 0)
    table = table if trained.is_empty() else trained
    tasks = table["task"].unique(maintain_order=True).to_list()
    width = 2.75 if len(tasks) < 4 else 2.05
    figure, grid = panels(len(MEANINGS), len(tasks), width=width, height=2.15, sharex=True, sharey=True)
    for axes_row, (column, words) in zip(grid, MEANINGS.items()):
        for axes, task in zip(axes_row, tasks):
            one_panel(axes, table.filter(pl.col("task") == task), column, name_batches=axes is axes_row[-1])
        axes_row[0].set_ylabel(words)
    for axes, task in zip(grid[0], tasks):
        axes.set_title(name_in(task), fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("length of the truncation: τ")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=5 if len(tasks) > 3 else 2, fontsize="small", handlelength=3
    )
    return figure


def axis_of_sequences(axes: Any, *, name_batches: bool) -> None:
    """From one sequence to never, with a line at each usual batch."""
    for batch, words in BATCHES.items():
        axes.axhline(batch, color="0.6", linewidth=0.7, zorder=0)
        if name_batches:
            beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "annotation_clip": False}
            axes.annotate(words, (1.03, batch), fontsize=6.5, color="0.4", **beside)
    axes.set(yscale="log", ylim=(LEAST / 1.5, MOST * 1.5), yticks=[1, 100, 1e4, 1e6])
    axes.set_yticklabels(["1", "100", "10⁴", "never"])
    axes.minorticks_off()


def one_panel(axes: Any, rows: pl.DataFrame, column: str, *, name_batches: bool) -> None:
    axis_of_sequences(axes, name_batches=name_batches)
    for (ours, theirs), part in rows.group_by("method", "against", maintain_order=True):
        look = style_of(theirs) | {"linestyle": DASHES.get(ours, ":")}
        if ours not in DASHES:
            look |= {"color": style_of(ours)["color"]}
        over_networks(axes, part, column, look, f"{ours} against {plural(theirs)}")
    mark_exact(axes, rows)


def over_networks(axes: Any, rows: pl.DataFrame, column: str, look: dict, name: str) -> None:
    """The median of networks against τ, and their middle half."""
    value = pl.col(column)
    ends = [value.quantile(0.25).alias("low"), value.median().alias("middle"), value.quantile(0.75).alias("high")]
    across = rows.group_by("tau").agg(*ends).sort("tau")
    axes.plot(across["tau"], across["middle"], label=name, **look)
    axes.fill_between(across["tau"], across["low"], across["high"], color=look["color"], alpha=0.1, linewidth=0)


def mark_exact(axes: Any, rows: pl.DataFrame) -> None:
    """Where an exact gradient with checkpoints keeps no more states; and the lengths that were measured."""
    exact = "exact gradient in as many states"
    axes.axvline(kept("sqrt", rows["length"][0]), color="0.35", linestyle=":", linewidth=0.9, label=exact)
    mark_taus(axes, taus_of(rows))


def message(table: pl.DataFrame) -> str:
    """From how many sequences on randomized truncation is better than segments, on each task, in the middle."""
    rows = table.filter((pl.col("method") == "randomized") & (pl.col("against") == "segment"))
    words = []
    for task in table["task"].unique(maintain_order=True):
        n: Any = rows.filter(pl.col("task") == task)["by_error"].median()
        if n is not None:
            words.append(f"{f'{n:,.0f}' if n < NO_BATCH else 'none'} on {name_in(task)}")
    found = ", ".join(words)
    return f"Randomized truncation beats segments from so many sequences an update on:\n{found} (medians)"
