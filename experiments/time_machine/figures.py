"""Perplexity against updates, symbols and seconds; and where it ends, against the length of truncation."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.time_machine.measure import GROUP
from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.learning import curve, shades
from tbptt_jax.plots.style import panels

HIGHEST = 20.0


def draw(table: pl.DataFrame) -> dict:
    best = at_best_rate(table, GROUP)
    networks, trigram = best.filter(pl.col("cell") != "trigram"), best.filter(pl.col("cell") == "trigram")
    figures = {"by_length": partial(by_length, networks, trigram)}
    for (cell,), part in networks.group_by("cell", maintain_order=True):
        figures[f"learning_{cell}"] = partial(learning, part, trigram, cell)
    return figures


def by_length(networks: pl.DataFrame, trigram: pl.DataFrame):
    needed(networks, "a network is needed")
    networks = networks.with_columns(pl.col("held_out").exp().alias("perplexity"))
    orders, cells = (networks[name].unique(maintain_order=True).to_list() for name in ("order", "cell"))
    figure, grid = panels(len(orders), len(cells), width=2.8, height=2.4, sharex=True, sharey=True)
    for axes_row, order in zip(grid, orders):
        for axes, cell in zip(axes_row, cells):
            part = networks.filter((pl.col("order") == order) & (pl.col("cell") == cell))
            for (name,), rows in part.group_by("series", maintain_order=True):
                along_tau(axes, rows, "perplexity", name, shift=1.0)
            baseline = trigram.filter(pl.col("order") == order)["held_out"]
            if len(baseline):
                axes.axhline(np.exp(baseline.mean()), color="gray", linestyle="--", label="trigram")
            axes.set(title=f"{cell}, {order}")
            mark_taus(axes, taus_of(part))
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    for axes in grid[:, 0]:
        axes.set_ylabel("held-out perplexity")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=7, fontsize="small")
    return figure


def learning(best: pl.DataFrame, trigram: pl.DataFrame, cell: Any):
    orders = best["order"].unique(maintain_order=True).to_list()
    figure, grid = panels(len(orders), 3, width=3.0, height=2.6, sharey=True)
    line_of = shades(best["tau"].drop_nulls().unique())
    for axes_row, order in zip(grid, orders):
        for axes, (x, name) in zip(
            axes_row,
            (
                ("curve_seen", "symbols seen"),
                ("curve_updates", "updates"),
                ("curve_seconds", "seconds a run, of all side by side"),
            ),
        ):
            for (est, tau), rows in best.filter(pl.col("order") == order).group_by(
                ["series", "tau"], maintain_order=True
            ):
                label = f"{est}, τ = {tau}" if tau else est
                more = {"linestyle": line_of.get(tau, "-"), "linewidth": 1.1}
                curve(axes, rows, x, "curve_held_out", est, label, transform=perplexity, **more)
            for rows in [trigram.filter(pl.col("order") == order)] * (x != "curve_seconds"):
                if rows.height:
                    curve(axes, rows, x, "curve_held_out", "trigram", "trigram", perplexity, color="gray", marker="")
            axes.set(xlabel=name, xscale="log", yscale="log")
            axes.set_yticks([6, 8, 10, 14, 20], labels=["6", "8", "10", "14", "20"])
            axes.minorticks_off()
        axes_row[0].set(ylabel="held-out perplexity", title=f"{cell}, {order}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, fontsize="x-small")
    return figure


def perplexity(losses: Any):
    return np.minimum(np.exp(np.minimum(losses, 50)), HIGHEST)
