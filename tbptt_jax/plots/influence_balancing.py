"""Two pictures of influence balancing: the slope against the length, and where training ends."""

import polars as pl

from tbptt_jax.lab.learning import at_best_rate
from tbptt_jax.plots.learning import curve
from tbptt_jax.plots.style import panels, style_of

SHOWN = [10, 41, 100, 110, 200]
LINES = ("-", "--", ":", "-.", (0, (1, 2)))


def draw(table: pl.DataFrame) -> dict:
    return {"slope": slope(table), "training": training(table)}


def slope(table):
    figure, grid = panels(1, 2, width=3.6, height=2.9)
    left, right = grid[0]
    truncated = table.filter(pl.col("tau").is_not_null())
    for (name,), part in truncated.group_by("estimator", maintain_order=True):
        rows = part.group_by("tau").agg(pl.col("slope").first()).sort("tau")
        left.plot(rows["tau"], rows["slope"], label=name, **style_of(name))
        best = at_best_rate(part, ["tau"], "distance").group_by("tau").agg(pl.col("distance").median()).sort("tau")
        right.plot(best["tau"], best["distance"].clip(1e-8), label=name, **style_of(name))
    left.axhline(0, color="black", linewidth=0.8)
    for tau, name in ((41, "window"), (110, "segment")):
        left.axvline(tau, color=style_of(name)["color"], linewidth=0.8, linestyle=":")
        left.annotate(f"{tau}", (tau, 0), xytext=(2, 4), textcoords="offset points", fontsize=8)
        right.axvline(tau, color=style_of(name)["color"], linewidth=0.8, linestyle=":")
    left.set(xlabel="truncation length τ (steps)", ylabel="mean gradient / (s¹ − 1)", title="the sign: right below 0")
    right.set(
        xlabel="truncation length τ (steps)", ylabel="|θ − θ*| after training", yscale="log", title="where it ends"
    )
    left.legend()
    return figure


def training(table):
    group = ["estimator", "tau"]
    figure, grid = panels(1, 2, width=3.7, height=3.9, sharey=True)
    for axes, part, title in (
        (grid[0, 0], table.filter(pl.col("tau").is_in(SHOWN)), "truncation"),
        (grid[0, 1], table.filter(pl.col("tau").is_null()), "exact and unbiased"),
    ):
        best = at_best_rate(part, group, "distance").sort("estimator", "tau", descending=[True, False])
        for i, ((name, tau), rows) in enumerate(best.group_by(group, maintain_order=True)):
            more = {"linestyle": LINES[SHOWN.index(tau) if tau else i % len(LINES)]}
            label = f"{f'{name}, τ = {tau}' if tau else name}; rate {rows['learning_rate'][0]:g}"
            curve(axes, rows, "curve_updates", "curve_distance", name, label, **more)
        axes.set(xscale="log", yscale="log", xlabel="updates", title=title, ylim=(1e-8, 2e3))
        axes.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    grid[0, 0].set_ylabel("|θ − θ*|, at the best learning rate")
    return figure
