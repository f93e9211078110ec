"""Variance and squared bias against the length of an unroll, for streams of two kinds."""

from functools import partial

import polars as pl

from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"variance": partial(variance, table)}


def variance(table: pl.DataFrame):
    kinds = table["stream"].unique(maintain_order=True).to_list()
    figure, grid = panels(2, len(kinds), width=3.3, height=2.4, sharex=True, sharey="row")
    for column, kind in enumerate(kinds):
        for (name,), rows in table.filter(pl.col("stream") == kind).group_by("series", maintain_order=True):
            rows, style = rows.sort("unroll"), style_of(name)
            grid[0, column].errorbar(rows["unroll"], rows["variance"], rows["error"], label=name, capsize=2, **style)
            seen = rows.filter(pl.col("squared_bias") > pl.col("bias_noise"))
            grid[1, column].plot(seen["unroll"], seen["squared_bias"], label=name, linestyle="none", **style)
            grid[1, column].plot(rows["unroll"], rows["bias_noise"], color=style["color"], linestyle=":", linewidth=0.8)
        grid[0, column].set(title=f"{kind} stream", xscale="log", yscale="log")
        grid[1, column].set(yscale="log", xlabel="steps of an unroll")
    grid[0, 0].set_ylabel("variance / ‖g‖²")
    grid[1, 0].set_ylabel("bias² / ‖g‖² (dotted: its noise)")
    grid[0, 0].legend(fontsize="x-small")
    return figure
