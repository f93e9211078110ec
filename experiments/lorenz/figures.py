"""The gradient of a chaotic simulation against the segment length, and what gradient descent makes of it."""

from functools import partial

import polars as pl

from tbptt_jax.experiments.lorenz.measure import FIRST_RHO, TRUE_RHO, UPDATES
from tbptt_jax.plots.style import panels, shade


def draw(table: pl.DataFrame) -> dict:
    return {"lorenz": partial(lorenz, table)}


def lorenz(table: pl.DataFrame):
    """Left, the middle of all simulations and their range; right, how far their fits end from the truth."""
    table = table.sort("tau")
    figure, ((left, right),) = panels(1, 2, width=4.2, height=3.2)
    value = pl.col("ratio")
    ends = [value.min().alias("low"), value.median().alias("middle"), value.max().alias("high")]
    across = table.group_by("tau").agg(*ends).sort("tau")
    left.axhline(1, color="0.5", linestyle="--")
    left.text(across["tau"][0], 1.3, "finite difference", color="0.35", fontsize=8)
    left.plot(across["tau"], across["middle"], "o-", color="#0072B2")
    left.fill_between(across["tau"], across["low"], across["high"], color="#0072B2", alpha=0.15, linewidth=0)
    left.set(xscale="log", yscale="log", xlabel="segment length τ (steps)", ylabel="|gradient| / response")
    left.set_title(f"mean height of a Lorenz system by ρ, {table['steps'][0]:,} steps", fontsize=9)
    misses = table.group_by("tau").agg(pl.col("miss").median(), (pl.col("left_at") > 0).sum()).sort("tau")
    for (tau,), rows in table.group_by("tau", maintain_order=True):
        colour = shade(0.9 * misses["tau"].to_list().index(tau) / max(1, misses.height - 1))
        right.plot([tau] * rows.height, rows["miss"].clip(1e-3), "o", markersize=2.5, color=colour, alpha=0.6)
    right.plot(misses["tau"], misses["miss"].clip(1e-3), color="0.3", linewidth=1)
    right.axhline(TRUE_RHO - FIRST_RHO, color="0.5", linestyle="--")
    right.text(misses["tau"][0], 1.15 * (TRUE_RHO - FIRST_RHO), "where descent begins", color="0.35", fontsize=8)
    right.set(
        xscale="log",
        yscale="log",
        xlabel="segment length τ (steps)",
        ylabel=f"|ρ − {TRUE_RHO:g}| after {UPDATES} updates",
    )
    right.set_title("what gradient descent makes of it", fontsize=9)
    best = misses.sort("miss")
    figure.suptitle(
        f"Segments of {best['tau'][0]} steps fit best, {best['miss'][0]:.2g} off in the middle; by the exact gradient "
        f"({misses['tau'][-1]:,} steps)\n{misses['left_at'][-1]} of {table.height // misses.height} descents leave for "
        "good",
        fontsize=9.5,
        x=0.02,
        ha="left",
    )
    return figure
