"""Variance against memory: equal gates, ARTBP and the optimal gates; a panel a radius and place of the losses."""

from functools import partial

import polars as pl

from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.style import panels

FLOOR = 1e-12  # relative to ‖g‖², where smaller variances are drawn


def draw(table: pl.DataFrame) -> dict:
    return {
        f"variance_{training}": partial(variance, part)
        for (training,), part in table.group_by("training", maintain_order=True)
    }


def variance(table: pl.DataFrame):
    table = table.with_columns(pl.col("variance", "least").clip(FLOOR))
    places, radii = (table[name].unique(maintain_order=True).to_list() for name in ("losses", "radius"))
    figure, grid = panels(len(places), len(radii), width=2.7, height=2.2, sharex=True, sharey="row")
    for axes_row, place in zip(grid, places):
        for axes, radius in zip(axes_row, radii):
            part = table.filter((pl.col("losses") == place) & (pl.col("radius") == radius))
            for (name,), rows in part.group_by("series", maintain_order=True):
                along_tau(axes, rows, "variance", name, middle="median")
            least = part.filter(pl.col("least").is_not_null())
            dotted = {"color": "black", "linestyle": ":", "marker": ""}
            along_tau(axes, least, "least", "the least", middle="median", **dotted)
            axes.set(yscale="log")
            axes.set_title(f"losses: {place}; radius {radius:g}", fontsize=8)
            mark_taus(axes, taus_of(part))
        axes_row[0].set_ylabel("variance / ‖g‖²")
    for axes in grid[-1]:
        axes.set_xlabel("states kept, on average: τ")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=min(4, 2 * len(radii)),
        fontsize="small",
    )
    return figure
