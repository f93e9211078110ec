"""Bits per symbol against symbols seen, and at the end beside the published ones, for each language and cell."""

from functools import partial
from math import ceil
from textwrap import fill
from typing import Any

import polars as pl

from tbptt_jax.named import name_in
from tbptt_jax.plots.learning import curve
from tbptt_jax.plots.names import Named, name_at_the_right
from tbptt_jax.plots.style import panels, style_of

PUBLISHED = {"segment(tau=1)": 0.178, "segment(tau=2)": 0.149, "segment(tau=16)": 0.144, "uoro()": 0.147}
"""On aⁿbⁿ, of GRUs of 64 after ten million symbols."""
LINES = {"segment(tau=1)": ":", "segment(tau=2)": "--"}
SPACE = "\N{NO-BREAK SPACE}"
TICKS = (0.15, 0.3, 0.6, 1.2)
WORDS = {"segment(tau=1)": "1 step", "segment(tau=2)": "2 steps", "segment(tau=16)": "16 steps", "dni(tau=1)": "critic"}


def draw(table: pl.DataFrame) -> dict:
    return {"bits": partial(bits, table)}


def bits(table: pl.DataFrame):
    parts = list(table.group_by("task", "cell", maintain_order=True))
    columns = min(2, len(parts))
    figure, grid = panels(ceil(len(parts) / columns), 2 * columns, width=2.6, height=2.5)
    pairs = grid.reshape(-1, 2)
    for (left, right), ((task, cell), part) in zip(pairs, parts):
        panel(left, right, part, PUBLISHED if (task, cell) == ("a_n_b_n()", "gru") else {})
        left.set(xlabel=f"symbols read, {cell}", ylabel=f"{name_in(str(task))}: bits a symbol")
    for axes in pairs[len(parts) :].ravel():
        axes.set_visible(False)
    lines = [fill(line, int(14 * figure.get_figwidth())) for line in message(table)]
    figure.suptitle("\n".join(lines), fontsize=9.5, x=0.02, ha="left")
    return figure


def panel(left: Any, right: Any, part: pl.DataFrame, published: dict[str, float]) -> None:
    ends, lines = [], []
    for (name,), rows in part.group_by(["estimator"], maintain_order=True):
        label = short(name)
        look = {"linestyle": LINES.get(name, "-"), "linewidth": 1.1}
        line = curve(left, rows, "curve_seen", "curve_bits", name, label, **look)
        lines.append(Named(line.get_ydata()[-1], line.get_xdata()[-1], label, line.get_color()))
        ends.append((rows["bits"].mean(), label, name, rows["bits"].to_list()))
    for place, (_, _, name, values) in enumerate(sorted(ends, reverse=True)):
        right.plot(values, [place] * len(values), linestyle="none", **style_of(name))
        if name in published:
            right.plot([published[name]] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.6)
    right.set_yticks(range(len(ends)), labels=[label for _, label, _, _ in sorted(ends, reverse=True)], fontsize=7)
    if part["bits"].max() > 4 * part["bits"].min():  # type: ignore[operator]
        right.set(xscale="log")
        right.set_xticks(TICKS, labels=[f"{tick:g}" for tick in TICKS])
        right.minorticks_off()
    for draw_line in (left.axhline, right.axvline):
        draw_line(part["best"][0], color="black", linewidth=0.8)
        draw_line(part["blind"][0], color="black", linewidth=0.8, linestyle=":")
    blind = part["blind"][0]
    medians = part.group_by("estimator").agg(pl.col("bits").median())["bits"]
    top = max(blind, medians.filter(medians < 1.5 * blind).max() or 0)  # above it lie runs that ran away
    left.xaxis.set_major_formatter(in_thousands)
    left.set(ylim=(0.95 * part["best"][0], 1.15 * top))
    name_at_the_right(left, lines)
    right.set_xlabel("over the last twentieth" + ("\nbars: published, after 10⁷" if published else ""), fontsize=8)


def in_thousands(number: float, _: Any) -> str:
    """Of symbols, in thousands or millions."""
    return f"{number / 1e6:g}M" if number >= 1e6 else f"{number / 1e3:g}k" if number else "0"


def short(estimator: str) -> str:
    return WORDS.get(estimator, name_in(estimator))


def message(table: pl.DataFrame) -> list[str]:
    words = ["Bits a symbol that are lost by one update a symbol, means over networks"]
    for (task, cell), rows in table.group_by("task", "cell", maintain_order=True):
        means = dict(rows.group_by("estimator").agg(pl.col("bits").mean()).sort("bits").rows())
        found = [f"{short(name)}{SPACE}{bits:.3f}" for name, bits in means.items()]
        entropy = f"entropy{SPACE}{rows['best'][0]:.3f}"
        words.append(f"{name_in(str(task))}, {cell}: {', '.join(found)}; {entropy}")
    return words
