"""The variance with a critic over that without, against the part of the credit that it foresees."""

from typing import Any

import polars as pl

from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.table import named
from tbptt_jax.named import name_in
from tbptt_jax.plots.style import panels, shade

FILLED = {"linear": False}


def draw(table: pl.DataFrame) -> dict:
    return {"variance": lambda: variance(table)}


def variance(table: pl.DataFrame) -> Any:
    """A panel a task: a point a network, its colour the stage of training, open for linear critics."""
    table = needed(table, "a critic is needed").with_columns(named("task"))
    tasks, stages = table["task"].unique(maintain_order=True).to_list(), sorted(table["training"].unique())
    colour = {stage: shade(0.85 * i / max(1, len(stages) - 1)) for i, stage in enumerate(stages)}
    figure, (row,) = panels(1, len(tasks), width=2.1, height=2.6, sharex=True, sharey=True)
    for axes, task in zip(row, tasks):
        axes.axhline(1, color="0.5", linewidth=0.7)
        part = table.filter(pl.col("task") == task)
        for (critic, stage), rows in part.group_by("critic", "training", maintain_order=True):
            kind = name_in(str(critic))
            face = colour[stage] if FILLED.get(kind, True) else "none"
            label = f"{kind}, " + (f"{stage} updates" if stage else "untrained")
            foreseen = rows["explained"].clip(-0.2, 1)
            axes.scatter(foreseen, rows["ratio"].clip(1e-4, 1e2), s=13, linewidths=0.8, facecolors=face, label=label)
            axes.collections[-1].set_edgecolor(colour[stage])
        axes.set(yscale="log", xlim=(-0.25, 1.05))
        axes.set_title(task, fontsize=9)
        axes.set_xlabel("credit foreseen (R²)", fontsize=8)
    row[0].set_ylabel("variance with a critic / without")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def message(table: pl.DataFrame) -> str:
    """The medians of the least linear critic after the longest training."""
    kinds = table["critic"].unique(maintain_order=True).to_list()
    rows = table.filter((pl.col("critic") == kinds[-1]) & (pl.col("training") == table["training"].max()))
    medians = rows.group_by("task", maintain_order=True).agg(pl.col("ratio").median()).rows()
    said = ", ".join(f"{task} {ratio:.2g}" for task, ratio in medians)
    return f"What {name_in(kinds[-1])} leave of the variance of unbiased truncation, in the middle:\n{said}"
