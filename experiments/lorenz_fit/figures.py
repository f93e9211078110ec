"""The loss from unseen starts against updates and against steps simulated, and the ways that parameters took."""

from textwrap import fill
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.lorenz_fit.measure import GUESS, TRUTH
from tbptt_jax.lab.table import with_lines
from tbptt_jax.plots.style import panels, styles_of

NAMES = {
    "segment": "truncated backpropagation",
    "full": "full backpropagation",
    "es": "ES of whole simulations",
    "truncated_es": "truncated ES",
    "pes": "PES",
    "nres": "NRES",
    "uoro": "UORO",
}


def draw(table: pl.DataFrame) -> dict:
    return {"losses": lambda: losses(table)}


def losses(table: pl.DataFrame) -> Any:
    figure, (row,) = panels(1, 3, width=3.1, height=2.8)
    apart = with_lines(table)
    looks = styles_of(apart["line"].unique(maintain_order=True))
    for (line,), rows in apart.group_by("line", maintain_order=True):
        look = looks[line] | {"markevery": 4, "label": NAMES.get(line, line)}
        values = np.array(rows["curve_loss"].to_list())
        middle, low, high = np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
        for axes, column, first in zip(row, ("curve_updates", "curve_steps"), (0, 1)):  # 0 steps are on no such axis
            x = np.asarray(rows[column][0])[first:]
            axes.plot(x, middle[first:], **look)
            axes.fill_between(x, low[first:], high[first:], color=look["color"], alpha=0.12, linewidth=0)
        a, r = (np.array(rows[f"curve_{name}"].to_list())[0] for name in TRUTH)
        row[2].plot(a, r, **look)
    row[0].set(xlabel="updates", ylabel="loss from unseen starts", yscale="log")
    row[1].set(xlabel="steps simulated", xscale="log", yscale="log")
    row[2].plot(GUESS["log_a"], GUESS["log_r"], "o", color="0.5", markersize=5)
    row[2].annotate("start", (GUESS["log_a"], GUESS["log_r"]), xytext=(7, -1), textcoords="offset points", fontsize=7)
    row[2].plot(TRUTH["log_a"], TRUTH["log_r"], "*", color="black", markersize=9)
    row[2].annotate("truth", (TRUTH["log_a"], TRUTH["log_r"]), xytext=(-4, 8), textcoords="offset points", fontsize=7)
    row[2].set(xlabel="log a", ylabel="log r", title="the way of one run")
    row[2].title.set_fontsize(8.5)
    for axes in row[:2]:
        axes.set_yticks([50, 100, 200, 400, 1000, 2000], labels=["50", "100", "200", "400", "1000", "2000"])
        axes.minorticks_off()
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(table: pl.DataFrame) -> str:
    """Where they end, the lowest first."""
    ends = with_lines(table).group_by("line", maintain_order=True).agg(pl.col("test_loss").median()).sort("test_loss")
    words = [f"{NAMES.get(line, line)} {loss:.0f}" for line, loss in ends.rows()]
    return fill(f"Where the loss ends, from {table['first_loss'][0]:.0f} (medians): " + ", ".join(words), 130)
