"""What a trained network has become, against the length that it was trained with; zoneout and full beside it."""

import polars as pl

from tbptt_jax.plots.learning import curve, shades
from tbptt_jax.plots.style import panels, style_of

COLUMNS = {
    "train_loss": "training loss at the end (nats)",
    "held_out": "held-out loss at the end (nats)",
    "gap": "held-out − training loss (nats)",
    "horizon": "horizon (steps)",
    "decay": "decay of credit a step",
    "radius": "spectral radius of W_hh",
}


def draw(table: pl.DataFrame) -> dict:
    return {"against_tau": against_tau(table), "learning": learning(table)}


def against_tau(table):
    figure, grid = panels(2, 3, width=2.9, height=2.4, sharex=True)
    taus = sorted(table["tau"].drop_nulls().unique())
    for axes, (column, name) in zip(grid.flat, COLUMNS.items()):
        for (est,), rows in table.filter(pl.col("tau").is_not_null()).group_by("estimator", maintain_order=True):
            ends = (
                rows.group_by("tau")
                .agg(*(getattr(pl.col(column), end)().alias(end) for end in ("min", "mean", "max")))
                .sort("tau")
            )
            axes.plot(ends["tau"], ends["mean"], label=est, **style_of(est))
            axes.fill_between(
                ends["tau"], ends["min"], ends["max"], color=style_of(est)["color"], alpha=0.15, linewidth=0
            )
        flat = table.filter(pl.col("tau").is_null())
        for (rate,), rows in flat.sort("zoneout").group_by("zoneout", maintain_order=True):
            label = f"full(), zoneout {rate:g}" if rate else "full()"
            axes.axhline(
                rows[column].mean(),
                color="black",
                linestyle=shades(flat["zoneout"].unique())[rate],
                label=label,
                linewidth=1,
            )
        axes.set(xscale="log", ylabel=name)
        axes.set_xticks(taus, labels=[str(tau) for tau in taus])
        axes.minorticks_off()
    for axes in grid[-1]:
        axes.set_xlabel("(expected) length τ (steps)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize="small")
    return figure


def learning(table):
    names = [name for name in table["estimator"].unique(maintain_order=True) if name != "full()"]
    figure, grid = panels(1, len(names), width=2.3, height=2.6, sharey=True)
    full = table.filter((pl.col("estimator") == "full()") & (pl.col("zoneout") == 0))
    line_of = shades(table["tau"].drop_nulls().unique())
    for axes, name in zip(grid[0], names):
        curve(axes, full, "curve_updates", "curve_held_out", "full", "full()", marker="", linewidth=1)
        part = table.filter(pl.col("estimator") == name).sort("tau")
        for (tau,), rows in part.group_by("tau", maintain_order=True):
            more = {"linestyle": line_of[tau], "marker": "", "linewidth": 1}
            curve(axes, rows, "curve_updates", "curve_held_out", name, f"τ = {tau}", **more)
        axes.set(xlabel="updates", title=name)
        axes.legend(fontsize=6.5)
    grid[0, 0].set_ylabel("held-out loss (nats)")
    return figure
