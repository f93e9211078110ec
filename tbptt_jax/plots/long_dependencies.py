"""What is learned against the length of truncation: a panel for each task and cell."""

import numpy as np
import polars as pl

from tbptt_jax.lab.learning import at_best_rate
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    best = at_best_rate(table, ["task", "cell", "estimator", "tau"])
    tasks, cells = (best[name].unique(maintain_order=True).to_list() for name in ("task", "cell"))
    figure, grid = panels(len(cells), len(tasks), width=2.3, height=2.2, sharey=True)
    for axes_row, cell in zip(grid, cells):
        for axes, task in zip(axes_row, tasks):
            part = best.filter((pl.col("task") == task) & (pl.col("cell") == cell)).sort("tau")
            taus = sorted(part["tau"].drop_nulls().unique())
            for i, ((name,), rows) in enumerate(part.group_by("estimator", maintain_order=True)):
                ends = rows.group_by("tau", maintain_order=True).agg(
                    *(getattr(pl.col("learned"), end)().alias(end) for end in ("min", "mean", "max"))
                )
                style = style_of(name)
                if name == "full()":
                    axes.axhline(ends["mean"][0], color=style["color"], label=name, linewidth=1)
                    continue
                spread = np.abs(np.stack([ends["mean"] - ends["min"], ends["max"] - ends["mean"]]))
                shifted = ends["tau"] * 1.06 ** (i - 2)  # so that intervals do not hide each other
                axes.errorbar(shifted, ends["mean"], spread, label=name, capsize=2, linewidth=1, **style)
            needed = part["sees_all_from"][0]
            axes.axvline(needed, color="black", linewidth=0.7, linestyle=":")
            axes.annotate(f"{needed}", (needed, 1.06), fontsize=7, ha="center")
            axes.axhline(0, color="gray", linewidth=0.6)
            axes.set(xscale="log", ylim=(-0.25, 1.15))
            axes.set_title(f"{task}, {cell}", fontsize=8)
            axes.set_xticks(taus, labels=[str(tau) for tau in taus])
            axes.minorticks_off()
        axes_row[0].set_ylabel("part of the blind loss removed")
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(6, 2 * len(tasks)), fontsize="small")
    return {"learned": figure}
