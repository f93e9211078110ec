"""A series against τ: its middle and its range over seeds; a level across the figure where it has no τ."""

from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.plots.style import style_of


def taus_of(table: pl.DataFrame) -> list[int]:
    """The lengths in a table, in order."""
    return sorted(table["tau"].drop_nulls().unique())


def mark_taus(axes: Any, taus: list[int]) -> None:
    """A logarithmic axis of lengths, with a tick at each of them."""
    axes.set(xscale="log")
    axes.set_xticks(taus, labels=[f"{tau:g}" for tau in taus])
    axes.minorticks_off()


def along_tau(
    axes: Any,
    rows: pl.DataFrame,
    column: str,
    series: str,
    *,
    middle: str = "mean",
    shift: float | None = None,
    **style: Any,
) -> None:
    """Draw the rows of one series: a band, or intervals that are shifted by a factor so as not to hide each other."""
    look = style_of(series) | {"label": series, "linewidth": 1.2} | style
    ends = [getattr(pl.col(column), end)().alias(end) for end in ("min", middle, "max")]
    across = rows.group_by("tau").agg(ends).sort("tau")
    if across["tau"].null_count():
        axes.axhline(across[middle][0], **{name: value for name, value in look.items() if name != "marker"})
        return
    if shift is None:
        (line,) = axes.plot(across["tau"], across[middle], **look)
        axes.fill_between(across["tau"], across["min"], across["max"], color=line.get_color(), alpha=0.15, linewidth=0)
        return
    spread = np.abs(np.stack([across[middle] - across["min"], across["max"] - across[middle]]))
    axes.errorbar(across["tau"] * shift, across[middle], spread, capsize=2, **look)
