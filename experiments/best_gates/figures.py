"""Variance against memory: equal gates, ARTBP and the optimal gates; a panel a radius and place of the losses."""

from functools import partial

import polars as pl

from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.style import panels

SHOWN = 8  # the length that the title speaks of
FLOOR = 1e-11  # relative to ‖g‖²: less is rounding, and not drawn


def draw(table: pl.DataFrame) -> dict:
    return {
        f"variance_{training}": partial(variance, part)
        for (training,), part in table.group_by("training", maintain_order=True)
    }


def variance(table: pl.DataFrame):
    places, radii = (table[name].unique(maintain_order=True).to_list() for name in ("losses", "radius"))
    figure, grid = panels(len(places), len(radii), width=2.7, height=2.2, sharex=True, sharey="row")
    for axes_row, place in zip(grid, places):
        for axes, radius in zip(axes_row, radii):
            part = table.filter((pl.col("losses") == place) & (pl.col("radius") == radius))
            for (name,), rows in part.group_by("series", maintain_order=True):
                along_tau(axes, above_rounding(rows, "variance"), "variance", name, middle="median")
            least = above_rounding(part.filter(pl.col("least").is_not_null()), "least")
            dotted = {"color": "black", "linestyle": ":", "marker": ""}
            along_tau(axes, least, "least", "the least", middle="median", **dotted)
            axes.set(yscale="log")
            axes.set_title(f"losses: {place}; radius {radius:g}", fontsize=8)
            mark_taus(axes, taus_of(part))
        axes_row[0].set_ylabel("variance / ‖g‖²")
    for axes in grid[-1]:
        axes.set_xlabel("states kept, on average: τ")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, 2 * len(radii)), fontsize="small")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def above_rounding(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Lengths at which the middle network's value is no rounding; those of others begin where rounding does."""
    return rows.filter(pl.col(column).median().over("tau") > FLOOR).with_columns(pl.col(column).clip(FLOOR))


def message(table: pl.DataFrame) -> str:
    """What is left of the variance of equal gates where gates have learned where to cut."""
    words = []
    for place in table["losses"].unique(maintain_order=True):
        rows = table.filter((pl.col("losses") == place) & (pl.col("tau") == SHOWN))
        middle = {name: part["variance"].median() for (name,), part in rows.group_by("series")}
        if middle.get("randomized") and middle.get("optimal") is not None:
            left = 100 * middle["optimal"] / middle["randomized"]  # type: ignore[operator]
            words.append(f"{f'{left:.2g}' if left >= 0.001 else 'less than 0.001'} % (losses: {place})")
    if not words:
        return "Variance of randomized truncation, by where it cuts"
    return f"Of the variance of equal gates, at τ = {SHOWN}, gates that learned where to cut leave\n{', '.join(words)}"
