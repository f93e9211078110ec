"""Credit against the lag, a panel a cell; its decay against the spectral radius; the credit of every single loss."""

from functools import partial

import numpy as np
import polars as pl

from tbptt_jax.lab.claims import needed
from tbptt_jax.plots.style import panels, shade

SMALLEST, LARGEST = 1e-8, 1e4


def draw(table: pl.DataFrame) -> dict:
    return {
        name: partial(draw_it, table) for name, draw_it in (("by_lag", by_lag), ("decay", decay), ("by_loss", by_loss))
    }


def kinds(table: pl.DataFrame):
    """(title, rows) before and after training, for the two ways to draw W_hh."""
    for (training, orthogonal), rows in table.group_by(["training", "orthogonal"], maintain_order=True):
        when = f"after {training} updates" if training else "at initialisation"
        yield f"{when}, {'orthogonal' if orthogonal else 'normal'}", rows


def colours(table: pl.DataFrame):
    radii = sorted(table["radius"].unique())
    return {radius: shade(0.9 * i / max(1, len(radii) - 1)) for i, radius in enumerate(radii)}


def by_lag(table: pl.DataFrame):
    cells = table["cell"].unique(maintain_order=True).to_list()
    rows_of = list(kinds(table))
    figure, grid = panels(len(rows_of), len(cells), width=2.2, height=2.0, sharex=True, sharey=True)
    colour = colours(table)
    for axes_row, (title, rows) in zip(grid, rows_of):
        for axes, cell in zip(axes_row, cells):
            if rows.filter(pl.col("cell") == cell).is_empty():
                axes.set_axis_off()
                continue
            for (radius,), part in rows.filter(pl.col("cell") == cell).group_by("radius", maintain_order=True):
                curves = np.array(part["curve_norm"].to_list())
                middle = np.exp(np.log(np.maximum(curves, 1e-30)).mean(0))
                axes.plot(np.where(middle > SMALLEST / 100, middle, np.nan), color=colour[radius], label=f"{radius:g}")
            axes.axhline(1, color="black", linewidth=0.6)
            axes.set(yscale="log", ylim=(SMALLEST, LARGEST))
            axes.set_title(cell)
        first = next(axes for axes in axes_row if axes.axison)
        first.tick_params(labelleft=True)
        first.set_ylabel(f"{title}\nmean ‖∂l_t/∂h_(t−k)‖, 1 at k = 0", fontsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("lag k (steps)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), title="spectral radius of W_hh")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(table: pl.DataFrame) -> str:
    """What becomes of credit a step where the matrix alone would make it grow the most."""
    rows = table.filter((pl.col("training") == 0) & (pl.col("radius") == pl.col("radius").max()))
    means = dict(rows.group_by("cell").agg(pl.col("decay").mean()).rows())
    words = [f"{cell} {means[cell]:.2f}" for cell in ("linear", "tanh", "gru", "lstm") if cell in means]
    if not words:
        return "The norm of credit by lag"
    return f"Before training, at radius {rows['radius'][0]:g}, a step multiplies credit by: " + ", ".join(words)


def decay(table: pl.DataFrame):
    rows_of = list(kinds(table))
    figure, grid = panels(1, len(rows_of), width=2.5, height=2.6, sharex=True, sharey=True)
    marks = {"linear": "s", "tanh": "o", "gru": "^", "lstm": "D"}
    colour = {cell: f"C{i}" for i, cell in enumerate(table["cell"].unique(maintain_order=True))}
    for axes, (title, rows) in zip(grid[0], rows_of):
        for (cell,), part in rows.group_by("cell", maintain_order=True):
            means = (
                part.group_by("radius")
                .agg(pl.col("decay").mean(), pl.col("decay").min().alias("low"), pl.col("decay").max().alias("high"))
                .sort("radius")
            )
            (line,) = axes.plot(
                means["radius"], means["decay"], marker=marks.get(cell, "x"), color=colour[cell], label=cell
            )
            axes.fill_between(
                means["radius"], means["low"], means["high"], color=line.get_color(), alpha=0.15, linewidth=0
            )
        span = [table["radius"].min(), table["radius"].max()]
        axes.plot(span, span, color="black", linewidth=0.7, linestyle=":", label="the radius")
        axes.axhline(1, color="black", linewidth=0.6)
        axes.set(xlabel="spectral radius of W_hh at first")
        axes.set_title(title, fontsize=8)
    grid[0, 0].set_ylabel("decay of credit a step")
    grid[0, 0].legend(fontsize="small")
    figure.suptitle(message(table), fontsize=9.5, x=0.02, ha="left")
    return figure


def by_loss(table: pl.DataFrame):
    """‖∂l_t/∂h_{t−k}‖ for every loss t and lag k, at the radius nearest to 1, W_hh normal."""
    normal = table.filter((pl.col("replica") == 0) & ~pl.col("orthogonal"))
    shown = needed(normal, "matrices that are not orthogonal are needed")
    nearest = min(shown["radius"].unique(), key=lambda radius: abs(radius - 1))
    shown = shown.filter(pl.col("radius") == nearest)
    trainings = sorted(shown["training"].unique())
    cells = shown["cell"].unique(maintain_order=True).to_list()
    figure, grid = panels(len(trainings), len(cells), width=2.3, height=2.2, sharex=True, sharey=True)
    for axes_row, training in zip(grid, trainings):
        for axes, cell in zip(axes_row, cells):
            found = shown.filter((pl.col("training") == training) & (pl.col("cell") == cell)).rows(named=True)
            if not found:
                axes.set_axis_off()
                continue
            norms = np.asarray(found[0]["norms"], float)
            with np.errstate(divide="ignore"):
                seen = np.log10(norms / norms[:, :1].max())
            image = axes.imshow(
                np.where(np.tril(norms) > 0, seen, np.nan), vmin=-8, vmax=1, cmap="magma", origin="lower"
            )
            axes.set_title(f"{cell}, " + (f"{training} updates" if training else "at first"), fontsize=8)
        axes_row[0].set_ylabel("loss t")
    for axes in grid[-1]:
        axes.set_xlabel("lag k (steps)")
    figure.colorbar(image, ax=grid, label=f"log₁₀ of credit, radius {nearest:g}", shrink=0.7)
    figure.suptitle("How far each loss of one network looks back", fontsize=9.5, x=0.02, ha="left")
    return figure
