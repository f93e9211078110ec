"""n* against τ: a panel a task and cell, a line for each truncation, darker the longer the training."""

import polars as pl

from tbptt_jax.lab.experiment import needed
from tbptt_jax.plots.along_tau import mark_taus, taus_of
from tbptt_jax.plots.style import panels, style_of

BATCHES = {1: "one sequence", 32: "a batch of 32", 1024: "1,024"}
LEAST, MOST = 0.3, 1e5


def draw(table: pl.DataFrame) -> dict:
    return {"sequences": lambda: sequences(table)}


def sequences(table: pl.DataFrame):
    table = needed(table.filter(pl.col("sequences").is_not_null()), "pairs of an unbiased and a biased estimator")
    tasks, cells = (table[name].unique(maintain_order=True).to_list() for name in ("task", "cell"))
    stages = sorted(table["training"].unique())
    figure, grid = panels(len(cells), len(tasks), width=3.1, height=2.7, sharey=True)
    for axes_row, cell in zip(grid, cells):
        for axes, task in zip(axes_row, tasks):
            part = table.filter((pl.col("task") == task) & (pl.col("cell") == cell))
            pairs = part.group_by("series", "against", "training", maintain_order=True)
            for (ours, theirs, training), rows in pairs:
                one_line(axes, rows, ours, theirs, training, stages)
            for batch, words in BATCHES.items():
                axes.axhline(batch, color="0.6", linewidth=0.7, zorder=0)
                axes.annotate(
                    words, (1, batch), xycoords=("axes fraction", "data"), fontsize=6.5, color="0.4", ha="right"
                )
            axes.set(yscale="log", ylim=(LEAST, MOST))
            axes.set_title(f"{task.partition('(')[0]}, {cell}", fontsize=8.5)
            mark_taus(axes, taus_of(part))
        axes_row[0].set_ylabel("sequences an update: n*")
    for axes in grid[-1]:
        axes.set_xlabel("length of the truncation: τ")
    figure.suptitle("Above its line, unbiased truncation has the smaller error", fontsize=10, x=0.02, ha="left")
    entries = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels())))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2, fontsize="small")
    return figure


def one_line(axes, rows: pl.DataFrame, ours: str, theirs: str, training: int, stages: list[int]) -> None:
    """n* of one pair at one stage of the training: the median over seeds, and the widest of their intervals."""
    ends = [pl.col("low").min(), pl.col("sequences").median(), pl.col("high").max()]
    across = (
        rows.group_by("tau").agg(*ends).sort("tau").with_columns(pl.col("low", "sequences", "high").clip(LEAST, MOST))
    )
    depth = (1 + stages.index(training)) / len(stages)
    look = style_of(theirs) | {
        "alpha": 0.25 + 0.75 * depth,
        "linestyle": "-" if ours.startswith("randomized") else "--",
    }
    label = f"{ours} against {theirs}, after {training} updates"
    axes.plot(across["tau"], across["sequences"], label=label, **look)
    axes.fill_between(
        across["tau"], across["low"], across["high"], color=look["color"], alpha=0.06 * depth, linewidth=0
    )
