"""Variance and squared bias against the length of an unroll, for streams of two kinds."""

import math
from functools import partial

import polars as pl

from tbptt_jax.lab.table import with_lines
from tbptt_jax.plots.style import panels, styles_of


def draw(table: pl.DataFrame) -> dict:
    return {"variance": partial(variance, table)}


def variance(table: pl.DataFrame):
    """Lines: exact, the middle network and all of them; rings: sampled, of one network, with its standard error."""
    kinds = table["stream"].unique(maintain_order=True).to_list()
    figure, (row,) = panels(1, len(kinds), width=3.3, height=2.7, sharex=True, sharey=True)
    table = with_lines(table)
    looks = styles_of(table["line"].unique(maintain_order=True))
    for axes, kind in zip(row, kinds):
        part = table.filter(pl.col("stream") == kind)
        for (name,), rows in part.group_by("line", maintain_order=True):
            look = looks[name] | {"marker": ""}
            value = pl.col("variance")
            ends = [value.min().alias("low"), value.median().alias("middle"), value.max().alias("high")]
            across = rows.group_by("unroll").agg(*ends).sort("unroll")
            axes.plot(across["unroll"], across["middle"], label=name, **look)
            axes.fill_between(across["unroll"], across["low"], across["high"], color=look["color"], alpha=0.12, lw=0)
            seen = rows.filter(pl.col("sampled").is_not_null()).sort("unroll")
            ring = {"fmt": "o", "markersize": 3.5, "markerfacecolor": "none", "color": look["color"], "elinewidth": 0.8}
            axes.errorbar(seen["unroll"], seen["sampled"], seen["error"], **ring)
        axes.set(xscale="log", yscale="log", xlabel="steps of an unroll")
        axes.set_title(f"{kind} stream", fontsize=9)
    row[0].set_ylabel("variance / ‖g‖²")
    row[0].legend(fontsize="x-small")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(table: pl.DataFrame) -> str:
    """By how much the variance of PES changes from one long unroll to the shortest ones: the geometric mean over
    networks, which the claims are about."""
    words = []
    for kind in table["stream"].unique(maintain_order=True):
        rows = table.filter((pl.col("stream") == kind) & (pl.col("method") == "pes"))
        if rows.is_empty():
            continue
        logs = rows.group_by("unroll").agg(pl.col("variance").log().mean()).sort("unroll")["variance"]
        words.append(f"× {math.exp(logs[0] - logs[-1]):.2g} on a {kind} stream")
    return f"Variance of PES in the shortest unrolls against one long:\n{', '.join(words)}"
