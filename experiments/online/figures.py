"""Loss against symbols; at the end, against seconds, the numbers that are carried and alignment: a row a task."""

from collections.abc import Sequence
from functools import partial
from textwrap import fill
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.online.measure import GROUP
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.lab.table import with_lines
from tbptt_jax.named import name_in
from tbptt_jax.plots.names import Named, name_at_the_right
from tbptt_jax.plots.style import panels, style_of

WORDS = {
    "window": "one step alone",
    "rolling": "8 steps back, every symbol",
    "segment": "8 steps, every 8th symbol",
    "kf_rtrl": "kf-rtrl",
}
POINTS = ("segment", "dni", "sketched", "rflo", "eprop", "kernl", "ok")
"""Methods that the experiments ask and that get no line, lest there be too many; all have a point."""
TITLED = [("window", "rtrl"), ("rolling", "rtrl"), ("uoro", "window")]


AGAINST = {
    "pace": {"xlabel": "μs a symbol and network", "xscale": "log"},
    "carried": {"xlabel": "numbers carried from symbol to symbol", "xscale": "log"},
    "cosine": {"xlabel": "cosine with the exact gradient", "xlim": (0, 1.04)},
}
FLOORS = {"best": "-", "blind": ":", "ngram_3": "--"}


def draw(table: pl.DataFrame) -> dict:
    return {"losses": partial(losses, table, of="task", against=("pace", "carried", "cosine"))}


def with_pace(table: pl.DataFrame) -> pl.DataFrame:
    """With a column `pace`: the microseconds that a symbol took a network of those side by side, in the middle cell."""
    side_by_side = pl.len().over("task", "cell", "estimator", "seed")
    pace = 1e6 * pl.col("seconds") / pl.col("symbols") / side_by_side
    return table.with_columns(pace=pace.median().over(GROUP))


def losses(table: pl.DataFrame, of: str, against: Sequence[str], titled: Sequence[tuple[str, str]] = TITLED) -> Any:
    """A row for each value of the column `of`; the title compares the `titled` pairs of methods. In a row of a task,
    points of cells other than tanh are white."""
    best = with_lines(at_best_rate(with_pace(table), GROUP, by="selection")).sort("task", "cell", "series")
    best = best.with_columns(aside=(pl.col("cell") != "tanh") & (of != "cell"))
    rows = best[of].unique(maintain_order=True).to_list()
    figure, grid = panels(len(rows), 1 + len(against), width=2.9, height=2.5)
    for axes_row, row in zip(grid, rows):
        part = best.filter(pl.col(of) == row)
        ends = []
        for (line, cell, aside), networks in part.group_by(["line", "cell", "aside"], maintain_order=True):
            look = style_of(line)
            if name_in(line) not in POINTS and not aside:
                middle = np.median(np.array(networks["curve_report"].to_list()), axis=0)
                axes_row[0].plot(networks["curve_seen"][0], middle, color=look["color"], linewidth=1.2)
            loss, filled = networks["report"].mean(), "white" if aside else look["color"]
            for axes, column in zip(axes_row[1:], against):
                point = look | {"linestyle": "none", "markersize": 5, "markerfacecolor": filled}
                axes.plot(networks[column].mean(), loss, **point)
            name = WORDS.get(line, line) + (f", {cell}" if aside else "")
            ends.append(Named(loss, networks[against[-1]].mean(), name, look["color"]))
        for name, style in FLOORS.items():
            if name in part.columns and part[name][0] is not None:
                for axes in axes_row:
                    axes.axhline(part[name][0], color="black", linewidth=0.7, linestyle=style)
                if name == "ngram_3":
                    there = (0.98, part[name][0])
                    words = {"ha": "right", "va": "bottom", "fontsize": 7, "annotation_clip": True}
                    axes_row[-1].annotate("counted trigram", there, xycoords=("axes fraction", "data"), **words)
        top, bottom = max(ends).y, min(ends).y
        room = 0.08 * (top - bottom) or 0.08 * abs(top) or 1.0
        for axes in axes_row:
            axes.set_ylim(bottom - room, top + room)
        axes_row[0].set(xlabel="symbols seen", ylabel=f"{name_in(row)}\nloss on the report set (nats)")
        for axes, column in zip(axes_row[1:], against):
            axes.set(**AGAINST[column])
            if column == "cosine":
                means = part.filter(~pl.col("aside")).group_by("line").agg(pl.col("cosine", "report").mean())
                found = means.select(pl.corr("cosine", "report", method="spearman")).item()
                if found is not None and np.isfinite(found):  # of one method there is none
                    axes.annotate(f"rank correlation {found:.2f}", (0.03, 0.94), xycoords="axes fraction", fontsize=7)
        name_at_the_right(axes_row[-1], ends)
    lines = [fill(line, int(14 * figure.get_figwidth())) for line in message(best.filter(~pl.col("aside")), of, titled)]
    figure.suptitle("\n".join(lines), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(best: pl.DataFrame, of: str, titled: Sequence[tuple[str, str]]) -> list[str]:
    """How far methods end above others, by the mean of logarithms over the networks that both have, a line a pair."""
    pairs = [name for name in ("seed", "run") if name in best.columns]
    losses = best.select(of, "method", *pairs, loss=pl.col("report").log())
    lines = []
    for name, other in titled:
        sides = [losses.filter(method=one).drop("method") for one in (name, other)]
        both = sides[0].join(sides[1], on=[of, *pairs]).group_by(of, maintain_order=True)
        found = both.agg((pl.col("loss") - pl.col("loss_right")).mean().alias("apart")).sort(of).rows()
        if found:
            words = [f"{above(apart)} {'in' if of == 'cell' else 'on'} {name_in(str(row))}" for row, apart in found]
            lines.append(f"{WORDS.get(name, name)} against {WORDS.get(other, other)}: {', '.join(words)}")
    return lines or ["Loss after one update a symbol"]


def above(apart: float) -> str:
    """A difference of logarithms, in words."""
    share = 100 * (np.exp(apart) - 1)
    return f"{abs(share):.0f} % {'above' if share >= 0 else 'below'}"
