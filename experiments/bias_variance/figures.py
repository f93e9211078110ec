"""Bias, variance and their sum against the length of a truncation, against memory, and of all that has no length."""

import math
from functools import partial
from typing import Any

import polars as pl

from tbptt_jax.experiments.bias_variance.measure import GROUP
from tbptt_jax.gradients.cuts.schedule import kept, schedule
from tbptt_jax.lab.claims import needed
from tbptt_jax.plots.along_tau import mark_taus, taus_of
from tbptt_jax.plots.style import panels, style_of

COLUMNS = {"bias": "bias²", "variance": "variance", "mse": "mean squared error"}
SHOWN = 1e-9
"""Relative to ‖g‖²: what is smaller, and so all that is 0, is not drawn on a logarithmic axis, and the line ends."""


def draw(table: pl.DataFrame) -> dict:
    by_length = pl.col("exact") & pl.col("tau").is_not_null()
    exact, rest = table.filter(by_length), table.filter(~by_length)
    return {
        **{f"against_tau_{cell}": partial(against_tau, part) for (cell,), part in exact.group_by("cell")},
        "equal_memory": partial(equal_memory, exact),
        "others": partial(others, rest),
    }


def groups(table: pl.DataFrame):
    return [(key, part) for key, part in table.group_by(GROUP, maintain_order=True)]


def title(key: tuple):
    cell, radius, training = key
    return f"{cell}, radius {radius}, " + (f"{training} updates" if training else "at initialisation")


def across(part: pl.DataFrame, column: str, by: str):
    """(series, the median over networks and the middle half) by one column, where it can be drawn."""
    for (name,), rows in part.group_by("series", maintain_order=True):
        value = pl.col(column)
        ends = [value.quantile(q).alias(end) for q, end in ((0.25, "low"), (0.5, "middle"), (0.75, "high"))]
        yield name, rows.group_by(by).agg(ends).filter(pl.col("middle") > SHOWN).sort(by)


def curves(axes: Any, part: pl.DataFrame, column: str, by: str) -> None:
    for name, rows in across(part, column, by):
        axes.plot(rows[by], rows["middle"], label=name, **style_of(name))
        axes.fill_between(rows[by], rows["low"], rows["high"], color=style_of(name)["color"], alpha=0.1, linewidth=0)


def against_tau(table: pl.DataFrame):
    kinds = groups(table)
    figure, grid = panels(len(kinds), len(COLUMNS), sharex=True, width=2.9, height=2.2)
    for axes_row, (key, part) in zip(grid, kinds):
        for axes, (column, what) in zip(axes_row, COLUMNS.items()):
            axes.set(xscale="log", ylabel=f"{what} / ‖g‖²")
            if (part[column] > SHOWN).any():
                axes.set(yscale="log")
                curves(axes, part, column, "tau")
            else:  # of truncations that draw nothing, the variance
                axes.set(yticks=[0], ylim=(-0.1, 1))
                axes.text(0.5, 0.5, "0 for all", transform=axes.transAxes, ha="center", color="0.4")
            mark_taus(axes, taus_of(table))
        axes_row[0].set_title(title(key))
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    figure.suptitle(
        "Biased truncation has no variance, unbiased no bias: what is 0 has no line (medians of networks, middle half)",
        fontsize=9.5,
        x=0.02,
        ha="left",
    )
    figure.legend(*with_all_labels(grid.flat), loc="outside lower center", ncols=7, fontsize="small")
    return figure


def with_all_labels(panels: Any):
    found: dict = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def equal_memory(table: pl.DataFrame):
    """The error of one sequence against the states that must be alive at once, a panel a setting."""
    table = needed(table, "a truncation with a τ is needed")
    table = table.with_columns(pl.col("states").round(6))  # of which the last digits are those of a compiler
    kinds = groups(table)
    columns = min(len(kinds), 4)
    figure, grid = panels(-(-len(kinds) // columns), columns, sharex=True, sharey=True)
    for axes in grid.flat[len(kinds) :]:
        axes.set_visible(False)
    for axes, (key, part) in zip(grid.flat, kinds):
        axes.set(xscale="log", yscale="log", title=title(key))
        curves(axes, part, "mse", "states")
        axes.axvline(kept("sqrt", part["length"][0]), color="0.5", linestyle=":", linewidth=0.9)
        mark_taus(axes, taus_of(table))
    for axes in grid[-1]:
        axes.set_xlabel("states alive at once (longest stretch, on average)", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("squared error / ‖g‖²")
    figure.legend(*with_all_labels(grid.flat), loc="outside lower center", ncols=7, fontsize="small")
    figure.suptitle(memory_message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def memory_message(table: pl.DataFrame) -> str:
    """In how many settings unbiased truncation reaches a smaller error than segments within a quarter of all states:
    each by its best length, in the median of networks."""
    few = table.filter(pl.col("states") <= table["length"].max() / 4)  # type: ignore[operator]

    def least(where: pl.Expr) -> pl.DataFrame:
        return few.filter(where).group_by([*GROUP, "series", "states"]).agg(middle).group_by(GROUP).agg(least_error)

    middle, least_error = pl.col("mse").median(), pl.col("mse").min()
    unbiased = least((pl.col("unbiased") != "never") & pl.col("tau").is_not_null())
    both = unbiased.join(least(pl.col("series") == "segment"), on=GROUP, suffix="_of_segments")
    length = int(table["length"][0])
    states = kept("sqrt", length)
    again = schedule(length, states).again / length  # type: ignore[arg-type]
    wins = (both["mse"] < both["mse_of_segments"]).sum()
    return (
        "Within a quarter of the memory of full backpropagation an unbiased truncation has a smaller error of one "
        f"sequence than segments in {wins} of {both.height} settings.\n"
        f"Dotted: the exact gradient with states='sqrt', {states} states and {again:.1f} forward passes more"
    )


def others(table: pl.DataFrame):
    """Variance and squared bias of estimators without a length, medians over networks; a bias whose interval holds 0
    in most networks is drawn as the upper end of that, with an arrow."""
    table = needed(table, "an estimator without a length is needed")
    kinds = groups(table)
    order = (
        table.group_by("estimator")
        .agg(pl.col("variance").median())
        .sort("variance", "estimator")["estimator"]
        .to_list()
    )
    width = 2.3 if len(kinds) > 2 else 4.2
    figure, grid = panels(1, len(kinds), width=width, height=0.22 * len(order) + 0.9, sharey=True, sharex=True)
    for axes, (key, part) in zip(grid[0], kinds):
        for place, text in enumerate(order):
            rows = part.filter(pl.col("estimator") == text)
            if rows.is_empty():
                continue
            look = style_of(text)
            value: Any = rows["variance"].median()
            if value > SHOWN:
                axes.plot(value, place, **look | {"linestyle": "none"})
            unseen = (rows["bias_low"].fill_null(math.inf) <= 0).mean() > 0.5  # type: ignore[operator]
            bias: Any = rows["bias_high" if unseen else "bias"].median()
            hollow = {"marker": "<" if unseen else "o", "markerfacecolor": "none", "color": look["color"]}
            axes.plot(max(bias, SHOWN), place, linestyle="none", **hollow)
        axes.set(xscale="log", xlabel="over ‖g‖²", title=title(key))
        axes.grid(axis="y", linewidth=0.3)
    grid[0, 0].set_yticks(range(len(order)), labels=order, fontsize=7)
    figure.suptitle(
        "Variance (filled, if anything is drawn) and squared bias (circles; arrows: below this), medians of networks",
        fontsize=9.5,
        x=0.02,
        ha="left",
    )
    return figure
