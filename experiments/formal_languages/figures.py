"""Bits per symbol against symbols seen, and at the end, a panel a language."""

from functools import partial

import polars as pl

from tbptt_jax.experiments.formal_languages.measure import GROUP
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.learning import curve, shades
from tbptt_jax.plots.style import panels, style_of


def draw(table: pl.DataFrame) -> dict:
    return {"bits": partial(bits, table)}


def bits(table: pl.DataFrame):
    best = at_best_rate(table, GROUP, by="selection").sort("tau")
    tasks = best["task"].unique(maintain_order=True).to_list()
    figure, grid = panels(len(tasks), 2, width=4.2, height=3.1)
    line_of = shades(best["tau"].drop_nulls().unique())
    for (left, right), task in zip(grid, tasks):
        part = best.filter(pl.col("task") == task)
        ends = []
        for (name, tau), rows in part.group_by(["series", "tau"], maintain_order=True):
            label = f"{name} {tau}" if tau else name
            curve(left, rows, "curve_seen", "curve_bits", name, label, linestyle=line_of.get(tau, "-"), linewidth=1.1)
            ends.append((rows["bits"].mean(), label, name, rows["bits"].to_list()))
        for place, (_, _, name, values) in enumerate(sorted(ends, reverse=True)):
            right.plot(values, [place] * len(values), linestyle="none", **style_of(name))
        right.set_yticks(range(len(ends)), labels=[label for _, label, _, _ in sorted(ends, reverse=True)], fontsize=7)
        for draw_line in (left.axhline, right.axvline):
            draw_line(part["best"][0], color="black", linewidth=0.8)
            draw_line(part["blind"][0], color="black", linewidth=0.8, linestyle=":")
        top = 1.15 * max(part["blind"][0], min(2 * part["blind"][0], part["bits"].max()))
        left.set(
            xscale="log", ylim=(0.9 * part["best"][0], top), xlabel="symbols seen", ylabel="bits per symbol", title=task
        )
        right.set(xlabel="bits per symbol, chosen moment (line: entropy; dotted: without recall)")
        right.xaxis.label.set_fontsize(7)
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(best: pl.DataFrame) -> str:
    words = []
    for (task,), rows in best.group_by("task", maintain_order=True):
        means = rows.group_by("series", "tau").agg(pl.col("bits").mean()).sort("bits")
        series, tau, bits = means.row(0)
        least = f"{series} of {tau}" if tau else series
        words.append(f"{str(task).partition('(')[0]}: {least}, {bits:.3f} of {rows['best'][0]:.3f}")
    return "The fewest bits a symbol, of the entropy: " + "; ".join(words)
