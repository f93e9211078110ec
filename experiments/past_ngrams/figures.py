"""Perplexity against the learning rate, a point a network, and against symbols at the best rate."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.formal_languages.figures import in_thousands
from tbptt_jax.experiments.time_machine.figures import GRAMS
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.style import panels, style_of

GROUP = ["cell", "updates", "series", "tau"]
LINES = {"every chunk": "-", "at cuts": "--"}
WORDS = {"full()": "all credit", "segment": "segments"}


def draw(table: pl.DataFrame) -> dict:
    return {"perplexity": partial(perplexity, table)}


def perplexity(table: pl.DataFrame) -> Any:
    best = at_best_rate(table, GROUP, by="selection")
    figure, ((by_rate, by_symbols),) = panels(1, 2, width=3.6, height=2.9, sharey=True)
    for (updates, series, tau), rows in table.group_by(["updates", "series", "tau"], maintain_order=True):
        look = style_of(series) | {"linestyle": LINES[updates]}
        means = rows.group_by("learning_rate").agg(pl.col("report").mean()).sort("learning_rate")
        by_rate.plot(means["learning_rate"], np.exp(means["report"]), label=named(series, tau, updates), **look)
        dots = look | {"linestyle": "none", "markersize": 3, "alpha": 0.5}
        by_rate.plot(rows["learning_rate"], np.exp(rows["report"]), **dots)
        same = pl.col("tau").is_null() if tau is None else pl.col("tau") == tau
        chosen = best.filter((pl.col("updates") == updates) & (pl.col("series") == series) & same)
        mean = np.exp(np.mean(np.array(chosen["curve_report"].to_list()), axis=0))
        by_symbols.plot(chosen["curve_seen"][0], mean, **look | {"marker": ""})
    for axes in (by_rate, by_symbols):
        for column in GRAMS:
            axes.axhline(float(np.exp(table[column][0])), color="0.5", linestyle=":", linewidth=1)
        axes.set(yscale="log")
    for column, name in GRAMS.items():
        there = (0.75, float(np.exp(table[column][0])))
        by_rate.annotate(name, there, xycoords=("axes fraction", "data"), ha="center", va="top", fontsize=7)
    rates = table["learning_rate"].unique().sort().to_list()
    by_rate.set_xscale("log")
    by_rate.set_xticks(rates, labels=[f"{rate:g}" for rate in rates])
    by_rate.set_yticks([4, 4.5, 5, 5.5, 6, 7, 8], labels=["4", "4.5", "5", "5.5", "6", "7", "8"])
    for axes in (by_rate, by_symbols):
        axes.minorticks_off()
    by_rate.set(xlabel="learning rate", ylabel="perplexity on the report set")
    by_symbols.xaxis.set_major_formatter(in_thousands)
    by_symbols.set(xlabel="symbols read, at the best rate")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def named(series: Any, tau: Any, updates: Any) -> str:
    of = "" if tau is None else f" of {tau}"
    return WORDS.get(series, series) + of + (", an update at every cut" if updates == "at cuts" else "")


def message(best: pl.DataFrame) -> str:
    means = best.group_by("series", "tau", "updates", maintain_order=True).agg(pl.col("report").mean())
    found = [f"{named(*method)} {np.exp(loss):.2f}" for *method, loss in means.rows()]
    lines = "; ".join(found[:2]) + ";\n" + "; ".join(found[2:]) if len(found) > 2 else "; ".join(found)
    return f"Perplexity, for {np.exp(best['best_ngram'][0]):.2f} of the best counted n-gram: {lines}"
