"""The gradient of a chaotic simulation against the segment length, and what gradient descent makes of it."""

from functools import partial

import numpy as np
import polars as pl
from matplotlib import colormaps

from tbptt_jax.plots.style import panels


def draw(table: pl.DataFrame) -> dict:
    return {"lorenz": partial(lorenz, table)}


def lorenz(table: pl.DataFrame):
    table = table.sort("tau")
    figure, ((left, right),) = panels(1, 2, width=4.2, height=3.2)
    response = table["response"][0]
    left.axhline(response, color="0.5", linestyle="--")
    left.text(table["tau"][0], response * 1.4, f"finite difference: {response:.2f}", color="0.35")
    left.plot(table["tau"], table["gradient"].abs(), "o-", color="#0072B2")
    left.set(xscale="log", yscale="log", xlabel="segment length τ (steps)", ylabel="|gradient of mean height by ρ|")
    left.set_title(f"Lorenz system, {table['steps'][0]:,} steps")
    right.axhline(28, color="0.5", linestyle="--")
    for i, row in enumerate(table.iter_rows(named=True)):
        path = np.array(row["path"])
        shown = path[: row["left_at"]] if row["left_at"] > 0 else path
        shown = np.where(np.abs(shown - 28) > 6, np.nan, shown)
        colour = colormaps["viridis"](i / table.height)
        name = f"{row['tau']}" + (" (leaves)" if row["left_at"] > 0 else "")
        right.plot(shown, color=colour, label=name, marker="x" if row["left_at"] > 0 else None, markevery=[-1])
    right.set(xlabel="update of gradient descent", ylabel="ρ", ylim=(21.8, 34.2))
    right.set_title("fitting ρ from 24; the truth is 28")
    right.legend(title="τ", ncols=2, fontsize="x-small", loc="upper right")
    return figure
