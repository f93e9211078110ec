"""The map of the mean height, with the ways that the rates took on it; and the mean height against updates."""

from textwrap import fill
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from matplotlib.colors import LogNorm

import tbptt_jax as tb
from tbptt_jax.experiments.meta_2d.measure import FIRST, Descent, episode
from tbptt_jax.lab.table import with_lines
from tbptt_jax.plots.style import panels, styles_of

MAP, POINTS = ((-5.0, 5.0), (-7.0, 4.0)), 121
"""The ends of its two axes, and how many points each has."""
NAMES = {
    "segment": "truncated backpropagation",
    "full": "full backpropagation",
    "es": "ES of whole descents",
    "truncated_es": "truncated ES",
    "pes": "PES",
    "nres": "NRES",
    "rtrl": "RTRL",
    "uoro": "UORO",
}


def draw(table: pl.DataFrame) -> dict:
    return {"ways": lambda: ways(table)}


def ways(table: pl.DataFrame) -> Any:
    """Of every method the way of one run on the map, from one start; and the median and the range of all runs."""
    figure, (row,) = panels(1, 2, width=4.1, height=3.4)
    left, right = row
    shades = {"cmap": "Greys", "norm": LogNorm(4, 40), "extent": (*MAP[0], *MAP[1]), "origin": "lower"}
    heights = landscape(table["steps"][0])
    filled = left.imshow(heights, aspect="auto", interpolation="bilinear", **shades)
    apart = with_lines(table)
    looks = styles_of(apart["line"].unique(maintain_order=True))
    for (line,), rows in apart.group_by("line", maintain_order=True):
        look = looks[line] | {"markevery": 0.15, "label": NAMES.get(line, line)}
        left.plot(rows["curve_first"][0], rows["curve_last"][0], **look | {"markevery": [-1], "linewidth": 1.0})
        updates = np.asarray(rows["curve_updates"][0])
        shown = np.unique(np.geomspace(1, len(updates) - 1, 150).astype(int))
        values, updates = np.array(rows["curve_loss"].to_list())[:, shown], updates[shown]
        right.plot(updates, np.median(values, axis=0), **look)
        right.fill_between(
            updates, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.12, linewidth=0
        )
    left.plot(*FIRST, "o", color="black", markersize=5)
    left.annotate("start", FIRST, xytext=(-4, -13), textcoords="offset points", fontsize=7.5)
    lowest = np.unravel_index(heights.argmin(), heights.shape)
    best = [np.linspace(*ends, POINTS)[i] for ends, i in zip(MAP, reversed(lowest))]
    left.plot(*best, "+", color="black", markersize=9)
    left.annotate("lowest", best, xytext=(6, -3), textcoords="offset points", fontsize=7.5)
    left.set(xlabel="log of the rate at the first step", ylabel="log of the rate at the last step")
    bar = figure.colorbar(filled, ax=left, label="mean height over all steps", ticks=[5, 10, 20, 40], format="%g")
    bar.minorticks_off()
    right.set(xlabel="updates", ylabel="mean height over all steps", xscale="log")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(table: pl.DataFrame) -> str:
    ends = {name: rows["meta_loss"].median() for (name,), rows in table.group_by("method")}
    words = [f"{NAMES[name]} {ends[name]:.3g}" for name in NAMES if name in ends]
    return fill("The mean height where they end: " + ", ".join(words), 110)


def landscape(steps: int) -> np.ndarray:
    """The mean height on the map, `[last, first]`."""
    model = Descent(steps)
    whole = jax.tree.map(lambda leaf: leaf[0], episode(steps, steps))
    axes = (np.linspace(*ends, POINTS) for ends in MAP)
    theta = jnp.stack(jnp.meshgrid(*axes), axis=-1).reshape(-1, 2)
    values = jax.lax.map(lambda theta: tb.loss(model, {"theta": theta}, whole), theta, batch_size=512)
    return np.asarray(values).reshape(POINTS, POINTS)
