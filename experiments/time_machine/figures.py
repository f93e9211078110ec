"""Where the perplexity ends, against the length of truncation; and against updates, symbols and seconds."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.time_machine.claims import OF_ONE
from tbptt_jax.lab.claims import NotMeasured, needed
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.learning import shades
from tbptt_jax.plots.style import panels, style_of

KINDS = {("sequential", "every chunk"): "an update every 64 steps", ("sequential", "at cuts"): "an update at every cut"}
GROUP = ["cell", "order", "updates", "series", "tau"]
GRAMS = {"ngram_3": "trigram", "best_ngram": "best n-gram"}


def draw(table: pl.DataFrame) -> dict:
    of_one = pl.col("series") == OF_ONE
    best = at_best_rate(table, GROUP, by="selection").with_columns(
        pl.when(of_one).then(1).otherwise("tau").alias("tau"),
        pl.when(of_one).then(pl.lit("segment")).otherwise("series").alias("series"),
        perplexity=pl.col("report").exp(),
    )
    methods = pl.Enum(best["series"].unique(maintain_order=True))
    best = best.sort(pl.col("series").cast(methods), "tau", maintain_order=True)
    figures = {"by_length": partial(by_length, best)}
    for (cell,), part in best.group_by("cell", maintain_order=True):
        figures[f"learning_{cell}"] = partial(learning, part)
    return figures


def measured_kinds(best: pl.DataFrame) -> dict[tuple[str, str], str]:
    """Orders and moments of updates that are in the table, and their names."""
    there = set(best.select("order", "updates").unique().rows())
    found = {kind: words for kind, words in KINDS.items() if kind in there}
    if not found:
        raise NotMeasured("the text in sequence is needed")
    return found


def by_length(best: pl.DataFrame):
    cells = best["cell"].unique(maintain_order=True).to_list()
    kinds = measured_kinds(best)
    figure, grid = panels(len(cells), len(kinds), width=3.6, height=2.8, sharex=True, sharey=True)
    for axes_row, cell in zip(grid, cells):
        for axes, ((order, updates), words) in zip(axes_row, kinds.items()):
            rows = best.filter((pl.col("cell") == cell) & (pl.col("order") == order))
            part = rows.filter(pl.col("updates") == updates)
            full = rows.filter(pl.col("series") == "full()")
            others = part.filter(pl.col("series") != "full()")
            names = others["series"].unique(maintain_order=True).to_list()
            along_tau(axes, full, "perplexity", "full()", label="full(), an update every 64 steps")
            for i, name in enumerate(names):
                beside = 1.05 ** (i - (len(names) - 1) / 2)
                along_tau(axes, others.filter(pl.col("series") == name), "perplexity", name, shift=beside)
            for column, name in GRAMS.items():
                level = float(np.exp(best[column][0]))
                axes.axhline(level, color="0.5", linestyle=":", linewidth=1)
                axes.annotate(name, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
            axes.set_title(f"{cell}: {words}", fontsize=9)
            axes.set_xlabel("(expected) length τ (steps)")
            mark_taus(axes, taus_of(best))
            axes.set(yscale="log")
            axes.set_yticks([4, 4.5, 5, 5.5, 6, 6.5], labels=["4", "4.5", "5", "5.5", "6", "6.5"])
            axes.minorticks_off()
        axes_row[0].set_ylabel("perplexity on the report set\n(bars: all networks)")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels())))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=7, fontsize="small")
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure


def message(best: pl.DataFrame) -> str:
    def mean(series: str, updates: str, tau: int | None) -> float | None:
        same = pl.col("tau").is_null() if tau is None else pl.col("tau") == tau
        where = (pl.col("series") == series) & (pl.col("updates") == updates) & (pl.col("order") == "sequential") & same
        return best.filter(where)["perplexity"].mean()  # type: ignore[return-value]

    taus = taus_of(best)
    full, short = mean("full()", "every chunk", None), mean("segment", "every chunk", min(taus, default=None))
    at_cuts = {tau: value for tau in taus if (value := mean("segment", "at cuts", tau)) is not None}
    if full is None or short is None or not at_cuts:
        return "Perplexity on The Time Machine at equal data"
    tau = min(at_cuts, key=at_cuts.__getitem__)
    return (
        f"Perplexity at equal data: all credit {full:.2f}, segments of {min(taus)} {short:.2f}; with an update at every"
        f" cut, segments of {tau} {at_cuts[tau]:.2f}:\nmore updates are what truncation buys"
    )


def learning(best: pl.DataFrame):
    best = needed(best.filter(pl.col("order") == "sequential"), "the text in sequence")
    kinds = measured_kinds(best)
    figure, grid = panels(len(kinds), 3, width=2.9, height=2.4, sharey=True)
    line_of = shades(best["tau"].drop_nulls().unique())
    for axes_row, ((_, updates), words) in zip(grid, kinds.items()):
        rows = best.filter(pl.col("updates") == updates)
        for axes, (x, name) in zip(
            axes_row, (("curve_seen", "symbols seen"), ("curve_updates", "updates"), ("seconds", "seconds a run"))
        ):
            for (series, tau), part in rows.group_by(["series", "tau"], maintain_order=True):
                y = np.exp(np.mean(np.array(part["curve_report"].to_list()), axis=0))
                at = np.mean(np.array(part["curve_updates" if x == "seconds" else x].to_list()), axis=0)
                if x == "seconds":  # of all runs side by side, divided among them
                    at = at / at[-1] * part["seconds"][0] / part["side_by_side"][0]
                look = style_of(series) | {"marker": "", "linestyle": line_of.get(tau, "-"), "linewidth": 1.1}
                axes.plot(at, y, label=f"{series}, τ = {tau}" if tau else series, **look)
            axes.set(xlabel=name, xscale="log", yscale="log")
            axes.set_yticks([4, 5, 6, 8, 10], labels=["4", "5", "6", "8", "10"])
            axes.minorticks_off()
        axes_row[0].set(ylabel="perplexity", title=words)
        axes_row[-1].legend(fontsize=5.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle(message(best), fontsize=9.5, x=0.02, ha="left")
    return figure
