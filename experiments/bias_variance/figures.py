"""Three pictures of bias and variance: against the truncation length, against each other, and their sum.

Estimators without a closed form (`optimal`, and those without a τ) are drawn from samples, whose variance is too small
where rare events carry it, as they do at τ = 2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl

from tbptt_jax.experiments.bias_variance.measure import GROUP
from tbptt_jax.lab.claims import needed
from tbptt_jax.plots.style import panels, style_of

FLOOR = 1e-9  # relative to ‖g‖², where 0 is drawn
ROUNDING = 1e-7  # what sampling in float32 cannot tell from 0


def draw(table: pl.DataFrame) -> dict:
    cells = table.filter(pl.col("tau").is_not_null()).group_by("cell", maintain_order=True)
    return {
        **{f"against_tau_{cell}": partial(against_tau, part) for (cell,), part in cells},
        "trade_off": partial(trade_off, table),
        "equal_memory": partial(equal_memory, table),
    }


def groups(table: pl.DataFrame):
    return [(key, part) for key, part in table.group_by(GROUP, maintain_order=True)]


def title(key: tuple):
    cell, radius, training = key
    return f"{cell}, radius {radius}, " + (f"{training} updates" if training else "at initialisation")


def curves(part: pl.DataFrame):
    """(estimator, its means over seeds by length)."""
    columns = [c for c in part.columns if part[c].dtype.is_numeric() and c not in (*GROUP, "tau", "replica")]
    for (name,), rows in part.group_by("series", maintain_order=True):
        least = pl.col("bias_low").min().alias("bias_least")
        yield name, rows.group_by("tau").agg(pl.col(columns).mean(), least).sort("tau")


def points(axes: Any, rows: pl.DataFrame, name: str, column: str, **style: Any):
    """Lines where there is a closed form, points where it was sampled.

    A point and its interval are means over seeds, of the values and of the ends: an interval as wide as one seed's.
    """
    exact = f"exact_{column}"
    if exact in rows.columns and rows[exact].null_count() == 0:
        shown = rows.filter(pl.col(exact) > FLOOR)
        axes.plot(shown["tau"], shown[exact], color=style["color"])
    seen = rows.filter(pl.col(column) > ROUNDING)
    below = (seen[column] - seen[f"{column}_low"].clip(ROUNDING)).clip(0)
    above = (seen[f"{column}_high"] - seen[column]).clip(0)
    axes.errorbar(seen["tau"], seen[column], [below, above], linestyle="none", label=name, capsize=2, **style)


def against_tau(table: pl.DataFrame):
    kinds = groups(table)
    figure, grid = panels(len(kinds), 3, sharex=True, width=2.9, height=2.2)
    for axes_row, (key, part) in zip(grid, kinds):
        for axes, column, what in zip(
            axes_row, ("bias", "variance", "mse"), ("bias²", "variance", "mean squared error")
        ):
            for name, rows in curves(part):
                points(axes, rows, name, column, **style_of(name))
            axes.set(xscale="log", ylabel=f"{what} / ‖g‖²")
            if part[column].max() > ROUNDING:
                axes.set(yscale="log")
            else:  # of truncations alone, the variance
                axes.set(yticks=[0], ylim=(-0.1, 1))
                axes.text(0.5, 0.5, "0 for all", transform=axes.transAxes, ha="center", color="0.4")
            axes.set_xticks(sorted(part["tau"].unique()), labels=[f"{t:g}" for t in sorted(part["tau"].unique())])
            axes.minorticks_off()
        axes_row[0].set_title(title(key))
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    figure.legend(*with_all_labels(grid.flat), loc="outside upper center", ncols=7, fontsize="small")
    return figure


def with_all_labels(panels: Any):
    found: dict = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def best_known(rows: pl.DataFrame, column: str):
    """The closed form where there is one, else what was sampled; a bias where an interval of a seed holds 0 is none."""
    sampled = pl.col(column)
    if column == "bias":
        sampled = pl.when(pl.col("bias_least") > 0).then(sampled).otherwise(0)
    return rows.select(pl.coalesce(f"exact_{column}", sampled).clip(FLOOR).alias(column))[column]


def trade_off(table: pl.DataFrame):
    def one(axes, name, rows):
        x, y = best_known(rows, "bias"), best_known(rows, "variance")
        axes.plot(x, y, label=name, **style_of(name))
        if rows["tau"][0] is not None:
            axes.annotate(f"τ={rows['tau'][0]:g}", (x[0], y[0]), fontsize=6, xytext=(3, 3), textcoords="offset points")

    return a_panel_a_group(table, one, "bias² / ‖g‖²  (0 drawn at 1e-9)", "variance / ‖g‖²  (0 at 1e-9)")


def equal_memory(table: pl.DataFrame):
    table = needed(table.filter(pl.col("tau").is_not_null()), "an estimator with a τ is needed")

    def one(axes, name, rows):
        axes.plot(rows["tau"], best_known(rows, "mse"), label=name, **style_of(name))
        axes.set_xticks(rows["tau"], labels=[f"{tau:g}" for tau in rows["tau"]])
        axes.minorticks_off()

    return a_panel_a_group(table, one, "states kept, on average: τ", "mean squared error / ‖g‖²")


def a_panel_a_group(table: pl.DataFrame, one: Callable, x_label: str, y_label: str):
    """`one(axes, estimator, rows)` draws an estimator's line."""
    kinds = groups(table)
    columns = min(len(kinds), 4)
    figure, grid = panels(-(-len(kinds) // columns), columns, sharex=True, sharey=True)
    for axes in grid.flat[len(kinds) :]:
        axes.set_visible(False)
    for axes, (key, part) in zip(grid.flat, kinds):
        axes.set(xscale="log", yscale="log", title=title(key))
        for name, rows in curves(part):
            one(axes, name, rows)
    for axes in grid[-1]:
        axes.set_xlabel(x_label)
    for axes in grid[:, 0]:
        axes.set_ylabel(y_label)
    figure.legend(*with_all_labels(grid.flat), loc="outside upper center", ncols=7, fontsize="small")
    return figure
