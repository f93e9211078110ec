"""What a trained network has become, against the length that it was trained with; zoneout and full beside it."""

from functools import partial

import polars as pl

from tbptt_jax.lab.claims import needed
from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.learning import curve, shades
from tbptt_jax.plots.style import panels

COLUMNS = {
    "train_loss": "training loss at the end (nats)",
    "held_out": "held-out loss at the end (nats)",
    "gap": "held-out − training loss (nats)",
    "horizon": "horizon (steps)",
    "decay": "decay of credit a step",
    "radius": "spectral radius of W_hh",
}


def draw(table: pl.DataFrame) -> dict:
    return {"against_tau": partial(against_tau, table), "learning": partial(learning, table)}


def against_tau(table: pl.DataFrame):
    figure, grid = panels(2, 3, width=2.9, height=2.4, sharex=True)
    line_of = shades(table["zoneout"].unique())
    for axes, (column, name) in zip(grid.flat, COLUMNS.items()):
        for (series, rate), rows in table.sort("zoneout").group_by(["series", "zoneout"], maintain_order=True):
            look = {"linestyle": line_of[rate]} if rows["tau"].null_count() else {}
            label = f"{series}, zoneout {rate:g}" if rate else series
            along_tau(axes, rows, column, series, label=label, **look)
        axes.set(ylabel=name)
        mark_taus(axes, taus_of(table))
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize="small")
    return figure


def learning(table: pl.DataFrame):
    with_tau = needed(table.filter(pl.col("tau").is_not_null()), "an estimator with a τ is needed")
    names = with_tau["series"].unique(maintain_order=True).to_list()
    figure, grid = panels(1, len(names), width=2.3, height=2.6, sharey=True)
    full = table.filter((pl.col("series") == "full()") & (pl.col("zoneout") == 0))
    line_of = shades(table["tau"].drop_nulls().unique())
    for axes, name in zip(grid[0], names):
        curve(axes, full, "curve_updates", "curve_held_out", "full", "full()", marker="", linewidth=1)
        part = table.filter(pl.col("series") == name).sort("tau")
        for (tau,), rows in part.group_by("tau", maintain_order=True):
            more = {"linestyle": line_of[tau], "marker": "", "linewidth": 1}
            curve(axes, rows, "curve_updates", "curve_held_out", name, f"τ = {tau}", **more)
        axes.set(xlabel="updates", title=name)
        axes.legend(fontsize=6.5)
    grid[0, 0].set_ylabel("held-out loss (nats)")
    return figure
