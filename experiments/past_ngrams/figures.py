"""Perplexity against the learning rate, a point a network, and against symbols at the best rate."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.time_machine.figures import GRAMS
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.style import panels, style_of

GROUP = ["cell", "updates", "series", "tau"]
LINES = {"every chunk": "-", "at cuts": "--"}
WORDS = {"every chunk": "", "at cuts": ", updates at cuts"}


def draw(table: pl.DataFrame) -> dict:
    return {"perplexity": partial(perplexity, table)}


def perplexity(table: pl.DataFrame) -> Any:
    best = at_best_rate(table, GROUP, by="selection")
    figure, ((by_rate, by_symbols),) = panels(1, 2, width=3.6, height=2.9, sharey=True)
    for (updates, series), rows in table.group_by(["updates", "series"], maintain_order=True):
        look = style_of(series) | {"linestyle": LINES[updates]}
        means = rows.group_by("learning_rate").agg(pl.col("report").mean()).sort("learning_rate")
        by_rate.plot(means["learning_rate"], np.exp(means["report"]), label=f"{series}{WORDS[updates]}", **look)
        dots = look | {"linestyle": "none", "markersize": 3, "alpha": 0.5}
        by_rate.plot(rows["learning_rate"], np.exp(rows["report"]), **dots)
        chosen = best.filter((pl.col("updates") == updates) & (pl.col("series") == series))
        middle = np.exp(np.mean(np.array(chosen["curve_report"].to_list()), axis=0))
        by_symbols.plot(chosen["curve_seen"][0], middle, **look | {"marker": ""})
    for axes in (by_rate, by_symbols):
        for column, name in GRAMS.items():
            level = float(np.exp(table[column][0]))
            axes.axhline(level, color="0.5", linestyle=":", linewidth=1)
            axes.annotate(name, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        axes.set(xscale="log", yscale="log")
    rates = table["learning_rate"].unique().sort().to_list()
    by_rate.set_xticks(rates, labels=[f"{rate:g}" for rate in rates])
    by_rate.set_yticks([4, 4.5, 5, 5.5, 6, 7, 8], labels=["4", "4.5", "5", "5.5", "6", "7", "8"])
    for axes in (by_rate, by_symbols):
        axes.minorticks_off()
    by_rate.set(xlabel="learning rate", ylabel="perplexity on the report set")
    by_symbols.set(xlabel="symbols read, at the best rate")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(best: pl.DataFrame) -> str:
    means = best.group_by("series", "updates", maintain_order=True).agg(pl.col("report").mean())
    found = [f"{series}{WORDS[updates]} {np.exp(loss):.2f}" for series, updates, loss in means.rows()]
    return f"Perplexity, the best counted n-gram {np.exp(best['best_ngram'][0]):.2f}:\n" + "; ".join(found)
