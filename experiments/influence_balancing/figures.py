"""Three pictures of influence balancing: the slope against the length, training, and where it ends for all others."""

from functools import partial

import polars as pl

from tbptt_jax.experiments.influence_balancing.claims import FIRST
from tbptt_jax.experiments.influence_balancing.measure import NEAR
from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.lab.table import with_lines
from tbptt_jax.plots.along_tau import taus_of
from tbptt_jax.plots.learning import curve
from tbptt_jax.plots.style import panels, style_of

SHOWN = [10, 41, 100, 110, 200]
LINES = ("-", "--", ":", "-.", (0, (1, 2)))


def draw(table: pl.DataFrame) -> dict:
    others = table.filter(pl.col("tau").is_null())
    return {"slope": partial(slope, table), "training": partial(training, table), "others": partial(ends, others)}


def slope(table: pl.DataFrame):
    figure, grid = panels(1, 2, width=3.6, height=2.9)
    left, right = grid[0]
    truncated = needed(table.filter(pl.col("tau").is_not_null()), "an estimator with a τ is needed")
    for (name,), part in truncated.group_by("series", maintain_order=True):
        rows = part.group_by("tau").agg(pl.col("slope").first()).sort("tau")
        left.plot(rows["tau"], rows["slope"], label=name, **style_of(name))
        best = at_best_rate(part, ["tau"], "distance").group_by("tau").agg(pl.col("distance").median()).sort("tau")
        right.plot(best["tau"], best["distance"].clip(1e-8), label=name, **style_of(name))
    left.axhline(0, color="black", linewidth=0.8)
    for name, tau in FIRST.items():
        left.axvline(tau, color=style_of(name)["color"], linewidth=0.8, linestyle=":")
        left.annotate(f"{tau}", (tau, 0), xytext=(2, 4), textcoords="offset points", fontsize=8)
        right.axvline(tau, color=style_of(name)["color"], linewidth=0.8, linestyle=":")
    left.set(xlabel="truncation length τ (steps)", ylabel="mean gradient / (s¹ − 1)", title="the sign: right below 0")
    right.set(
        xlabel="truncation length τ (steps)", ylabel="|θ − θ*| after training", yscale="log", title="where it ends"
    )
    left.legend()
    figure.suptitle(right_way(truncated), fontsize=9.5, x=0.02, ha="left")
    return figure


def right_way(truncated: pl.DataFrame) -> str:
    """From which length on each truncation points the right way."""
    found = truncated.filter(pl.col("slope") < 0).group_by("series", maintain_order=True).agg(pl.col("tau").min())
    words = [f"{series}s from τ = {tau}" for series, tau in sorted(found.rows(), reverse=True)]
    return "Who points the right way: " + (", ".join(words) or "none of these lengths")


def training(table: pl.DataFrame):
    group = ["line", "tau"]
    figure, grid = panels(1, 2, width=4.2, height=4.4, sharey=True)
    long = with_lines(table.filter(pl.col("length") == pl.col("length").max()), "tau")
    lengths = taus_of(long)
    shown = [tau for tau in SHOWN if tau in lengths] or lengths[: len(LINES)]
    for axes, part, title in (
        (grid[0, 0], long.filter(pl.col("tau").is_in(shown)), "truncation"),
        (grid[0, 1], long.filter(pl.col("tau").is_null()), f"others, chunks of {long['length'][0]} steps"),
    ):
        best = at_best_rate(part, group, "distance").sort("line", "tau", descending=[True, False])
        for i, ((name, tau), rows) in enumerate(best.group_by(group, maintain_order=True)):
            more = {"linestyle": LINES[shown.index(tau) if tau else i % len(LINES)]}
            label = f"{f'{name}, τ = {tau}' if tau else name}; rate {rows['learning_rate'][0]:g}"
            curve(axes, rows, "curve_updates", "curve_distance", name, label, **more)
        axes.set(xscale="log", yscale="log", xlabel="updates", title=title, ylim=(1e-8, 2e3))
        axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    grid[0, 0].set_ylabel("|θ − θ*|, at the best learning rate")
    figure.suptitle(
        "The way to the best θ, medians: truncation that sees too little climbs", fontsize=9.5, x=0.02, ha="left"
    )
    return figure


def ends(table: pl.DataFrame):
    """Where the training of each seed ended, a panel for each length of the chunks."""
    needed(table, "an estimator without a τ is needed")
    best = at_best_rate(with_lines(table, "length"), ["line", "length"], "distance")
    lengths = sorted(best["length"].unique(), reverse=True)
    figure, grid = panels(1, len(lengths), width=7.2 / len(lengths), height=3.6, sharey=True)
    middle = pl.col("distance").clip(1e-8).log().mean()
    names = best.group_by("line").agg(middle).sort("distance", "line", descending=True)
    for axes, length in zip(grid[0], lengths):
        for i, name in enumerate(names["line"]):
            seeds = best.filter((pl.col("length") == length) & (pl.col("line") == name))["distance"].clip(1e-8)
            axes.plot(seeds, [i] * len(seeds), linestyle="none", **style_of(name))
            if seeds.is_empty():
                middle_of_row = {"xycoords": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
                axes.annotate("not run", (0.5, i), **middle_of_row, fontsize=6, color="0.6")
        title = f"every {length} steps" if length > 1 else "every step"
        axes.set(xscale="log", xlabel="|θ − θ*| after training", title=title, xlim=(5e-9, 2e3))
        axes.axvline(NEAR, color="black", linewidth=0.7, linestyle=":")
        axes.grid(axis="y", linewidth=0.3)
    labels = [{"full": "full, of a chunk"}.get(name, name) for name in names["line"]]
    grid[0, 0].set_yticks(range(names.height), labels=labels, fontsize=7)
    figure.suptitle(
        "Who arrives, by how often the parameter is moved (left of the dotted line)", fontsize=9.5, x=0.02, ha="left"
    )
    return figure
