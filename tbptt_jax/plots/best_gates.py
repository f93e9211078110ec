"""Variance against memory: equal gates, ARTBP and the best gates; a panel for each radius and place of the losses."""

import polars as pl

from tbptt_jax.plots.style import panels, style_of

FLOOR = 1e-12  # relative to ‖g‖², where smaller variances are drawn


def draw(table: pl.DataFrame) -> dict:
    return {
        f"variance_{training}": variance(part) for (training,), part in table.group_by("training", maintain_order=True)
    }


def variance(table):
    places, radii = (table[name].unique(maintain_order=True).to_list() for name in ("losses", "radius"))
    figure, grid = panels(len(places), len(radii), width=2.7, height=2.2, sharex=True, sharey="row")
    for axes_row, place in zip(grid, places):
        for axes, radius in zip(axes_row, radii):
            part = table.filter((pl.col("losses") == place) & (pl.col("radius") == radius))
            for (name,), rows in part.group_by("estimator", maintain_order=True):
                line(axes, rows, "variance", label=name, **style_of(name))
            least = part.filter(pl.col("least").is_not_null())
            line(axes, least, "least", label="the least", color="black", linestyle=":")
            axes.set(xscale="log", yscale="log")
            axes.set_title(f"losses: {place}; radius {radius:g}", fontsize=8)
            taus = sorted(part["tau"].unique())
            axes.set_xticks(taus, labels=[f"{tau:g}" for tau in taus])
            axes.minorticks_off()
        axes_row[0].set_ylabel("variance / ‖g‖²")
    for axes in grid[-1]:
        axes.set_xlabel("states kept, on average: τ")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=min(4, 2 * len(radii)),
        fontsize="small",
    )
    return figure


def line(axes, rows, column, **style):
    """The median over seeds, and a band over all."""
    across = rows.group_by("tau").agg(
        *(getattr(pl.col(column).clip(FLOOR), end)().alias(end) for end in ("median", "min", "max"))
    )
    across = across.sort("tau")
    (drawn,) = axes.plot(across["tau"], across["median"], **style)
    axes.fill_between(across["tau"], across["min"], across["max"], color=drawn.get_color(), alpha=0.15, linewidth=0)
