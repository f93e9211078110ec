"""The smallest τ with which a distance is learned; and what is learned against τ."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.long_dependencies.measure import SOLVED
from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.lab.table import named
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"smallest": partial(smallest, table), "learned": partial(learned, table)}


def means(table: pl.DataFrame) -> pl.DataFrame:
    """What is learned at the best learning rate, the mean over seeds and their spread."""
    group = ["task", "series", "tau", "distance"]
    rows = table.with_columns(named("task"))
    best = at_best_rate(rows, group, by="selection").group_by(group)
    return best.agg(pl.col("learned").mean(), pl.col("learned").std().alias("spread")).sort(group)


def smallest(table: pl.DataFrame) -> Any:
    """A map: of each estimator, the smallest mean length at which nine tenths of the blind loss are removed on average;
    hollow where there is none, all credit too."""
    every = means(table)
    rows = needed(every.filter(pl.col("tau").is_not_null()), "truncations with a τ are needed")
    tasks, taus = rows["task"].unique(maintain_order=True).to_list(), sorted(rows["tau"].unique())
    figure, (axes_row,) = panels(1, len(tasks), width=3.2, height=2.7, sharey=True)
    never = taus[-1] * 2
    for axes, task in zip(axes_row, tasks):
        part = rows.filter(pl.col("task") == task)
        series = part["series"].unique(maintain_order=True).to_list()
        distances = sorted(part["distance"].unique())
        for i, name in enumerate(series):
            solved = part.filter((pl.col("series") == name) & (pl.col("learned") > SOLVED))
            first = dict(solved.group_by("distance").agg(pl.col("tau").min()).rows())
            beside, look = 1.05 ** (i - 1.5), style_of(name)
            heights = [first.get(distance, np.nan) * beside for distance in distances]
            axes.plot(distances, heights, label=name, **look)
            none = [distance * beside**2 for distance in distances if distance not in first]
            axes.plot(none, [never] * len(none), **look | {"linestyle": "none", "markerfacecolor": "white"})
        of_all = every.filter((pl.col("task") == task) & (pl.col("series") == "full()") & (pl.col("learned") <= SOLVED))
        look = style_of("full()") | {"linestyle": "none", "markerfacecolor": "white"}
        axes.plot(of_all["distance"], [1.3 * never] * of_all.height, label="full(), not learned", **look)
        axes.plot(distances, [d + 1 for d in distances], color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        axes.annotate("sees all", (distances[0], distances[0] + 1), fontsize=7, color="0.5", ha="left", va="bottom")
        axes.set(xscale="log", yscale="log", xlabel="distance (steps)", title=task, ylim=(taus[0] / 1.4, never * 1.6))
        axes.set_xticks(distances, [str(d) for d in distances])
        axes.set_yticks([*taus, never], [*map(str, taus), "none"])
        axes.minorticks_off()
    axes_row[0].set_ylabel("smallest τ that learns it")
    handles, labels = axes_row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7)
    figure.suptitle(message(rows), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(rows: pl.DataFrame) -> str:
    """The distance of each task up to which truncations of a mean length of 8 learn all that were measured."""
    lines = []
    for (task,), part in rows.filter(pl.col("tau") == 8).sort("distance").group_by("task", maintain_order=True):
        words = []
        for (name,), line in part.group_by("series", maintain_order=True):
            failures = (pl.col("learned") <= SOLVED).cum_sum()
            words.append(f"{name} {line.filter(failures == 0)['distance'].max() or 'none'}")
        lines.append(f"{task}: {', '.join(sorted(words))}")
    if not lines:
        return "What is learned over a distance, against the length of truncation"
    return "\n".join(["Steps over which a mean length of 8 still learns:", *lines])


def learned(table: pl.DataFrame) -> Any:
    rows = means(table)
    places = rows.select("task", "distance").unique().sort("task", "distance").rows()
    tasks = sorted({task for task, _ in places})
    distances = sorted({distance for _, distance in places})
    figure, grid = panels(len(tasks), len(distances), width=1.9, height=1.9, sharex=True, sharey=True)
    for axes_row, task in zip(grid, tasks):
        for axes, distance in zip(axes_row, distances):
            part = rows.filter((pl.col("task") == task) & (pl.col("distance") == distance))
            if part.is_empty():
                axes.set_visible(False)
                continue
            for (name,), line in part.group_by("series", maintain_order=True):
                one_line(axes, name, line)
            axes.axvline(distance + 1, color="0.3", linewidth=0.7, linestyle=":")
            axes.axhline(0, color="gray", linewidth=0.6)
            axes.set(ylim=(-0.25, 1.15), xscale="log")
            axes.set_title(f"{task} over {distance}", fontsize=8)
            ticks = sorted(t for t in rows["tau"].unique() if t is not None)
            axes.set_xticks(ticks, [str(t) for t in ticks])
            axes.minorticks_off()
        axes_row[0].set_ylabel("part of the blind\nloss removed")
    for axes in grid[-1]:
        axes.set_xlabel("τ")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
    figure.suptitle(message(rows.filter(pl.col("tau").is_not_null())), fontsize=9.5, x=0.02, ha="left")
    return figure


def one_line(axes: Any, name: str, line: pl.DataFrame) -> None:
    look = style_of(name)
    if line["tau"].null_count():
        axes.axhline(line["learned"][0], color=look["color"], linewidth=1.0, label=name)
        return
    line = line.sort("tau")
    spread = np.nan_to_num(line["spread"].fill_null(0).to_numpy())
    axes.errorbar(line["tau"], line["learned"], spread, elinewidth=0.7, capsize=1.5, label=name, **look)
