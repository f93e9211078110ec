"""What truncation makes of a network, against the length of its training, and pair by pair against all credit; held-out
against training loss; and what a network has become where truncation and zoneout have the same effect."""

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from tbptt_jax.experiments.regularization.measure import EQUAL
from tbptt_jax.experiments.time_machine.figures import GRAMS
from tbptt_jax.lab.claims import needed
from tbptt_jax.lab.intervals import ERROR, Interval
from tbptt_jax.plots.along_tau import along_tau, mark_taus, taus_of
from tbptt_jax.plots.learning import shades
from tbptt_jax.plots.style import panels, style_of

COLUMNS = {
    "report": "held-out loss, best moment",
    "at_equal_loss": f"held-out loss at {EQUAL} in training",
    "horizon": "horizon (steps)",
    "radius": "spectral radius of W_hh",
}
PAIRED = {
    "horizon": "horizon (steps)",
    "report": "held-out loss (nats), best moment",
    "at_equal_loss": f"the same, at {EQUAL} in training",
}
BECOME = {"horizon": "horizon (steps)", "trained_on": "loss in training at the end (nats)"}
REGULARISERS = {"zoneout": "#000000", "dropout": "#117733"}
"""By colour: of networks with all credit."""


def draw(table: pl.DataFrame) -> dict:
    names = {"against_tau": against_tau, "at_equal_loss": at_equal_loss, "against_effect": against_effect}
    names["against_all_credit"] = against_all_credit
    return {name: partial(figure, table) for name, figure in names.items()}


def against_tau(table: pl.DataFrame):
    figure, grid = panels(1, len(COLUMNS), width=2.5, height=2.5, sharex=True)
    by_regulariser = table.sort("zoneout", "dropout", nulls_last=True).group_by(
        ["series", *REGULARISERS], maintain_order=True
    )
    lines = [(series, *regularised(zoneout, dropout), rows) for (series, zoneout, dropout), rows in by_regulariser]
    line_of = {kind: shades({0.0} | {value for _, one, value, _ in lines if one == kind}) for kind in REGULARISERS}
    for axes, (column, name) in zip(grid.flat, COLUMNS.items()):
        for series, kind, value, rows in lines:
            rows = rows.filter(pl.col(column).is_not_null())
            if rows.is_empty():
                continue
            look = {"linestyle": line_of[kind][value], "color": REGULARISERS[kind]} if kind else {}
            along_tau(axes, rows, column, series, label=f"{series}, {kind} {value:g}" if kind else series, **look)
        axes.set_ylabel(name, fontsize=8)
        mark_taus(axes, taus_of(table))
        axes.set_xlabel("(expected) length τ")
    for column, name in GRAMS.items():
        for level in counted(table, column):
            grid[0, 0].axhline(level, color="0.5", linestyle=":", linewidth=1)
            at_the_right = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            grid[0, 0].annotate(name, (1, level), fontsize=7, **at_the_right)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, fontsize="small")
    figure.suptitle(message(table), fontsize=9.5, x=0.01, ha="left")
    return figure


def against_all_credit(table: pl.DataFrame):
    """How networks differ from those with all credit, pair by pair, against τ: means, and the intervals of claims."""
    is_full = (pl.col("series") == "full()") & (pl.col("zoneout") == 0)
    full = needed(table.filter(is_full), "all credit is needed")
    with_tau = needed(table.filter(pl.col("tau").is_not_null()), "an estimator with a τ is needed")
    figure, grid = panels(1, len(PAIRED), width=2.9, height=2.6, sharex=True)
    names = with_tau["series"].unique(maintain_order=True).to_list()
    for axes, (column, words) in zip(grid[0], PAIRED.items()):
        both = with_tau.join(full.select("seed", "run", of_full=column), on=["seed", "run"]).drop_nulls(column)
        for i, name in enumerate(names):
            lengths = both.filter(pl.col("series") == name).sort("tau").group_by("tau", maintain_order=True)
            found = [Interval.of(tau, (rows[column] - rows["of_full"]).to_numpy(), ERROR) for tau, rows in lengths]
            at = [one.setting[0] * 1.06 ** (i - (len(names) - 1) / 2) for one in found]  # beside each other
            middle = np.array([one.middle for one in found])
            spread = np.array([[one.middle - one.low, one.high - one.middle] for one in found]).T
            spread = np.where(np.isfinite(spread), spread, 0)  # fewer networks than an interval needs
            axes.errorbar(at, middle, spread, capsize=2, label=name, **style_of(name) | {"linewidth": 1.1})
        axes.axhline(0, color="black", linewidth=0.8)
        mark_taus(axes, taus_of(with_tau))
        axes.set(xlabel="(expected) length τ", title=words)
        axes.title.set_fontsize(8.5)
    grid[0, 0].set_ylabel("difference to all credit")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize="small")
    figure.suptitle(message_against_all_credit(table), x=0.01, ha="left", fontsize=9.5)
    return figure


def message_against_all_credit(table: pl.DataFrame) -> str:
    full = table.filter((pl.col("series") == "full()") & (pl.col("zoneout") == 0))["horizon"].mean()
    segments = table.filter(pl.col("series") == "segment").group_by("tau").agg(pl.col("horizon").mean()).sort("tau")
    words = ", ".join(f"{horizon:.0f} (τ = {tau})" for tau, horizon in segments.rows())
    return f"Networks look back over {full:.0f} steps with all credit" + (f", segments {words}" if words else "")


def regularised(zoneout: float | None, dropout: float | None) -> tuple[str, float]:
    """By what, and with which probability; by "" where by nothing."""
    return ("dropout", dropout) if dropout else ("zoneout", zoneout) if zoneout else ("", 0.0)


def counted(table: pl.DataFrame, column: str) -> list[float]:
    """The loss of counted n-grams, which is the same in all rows that have it."""
    return table[column].drop_nulls().unique().to_list() if column in table.columns else []


def message(table: pl.DataFrame) -> str:
    def mean(rows: pl.DataFrame) -> Any:
        return rows["report"].mean()

    full = table.filter(pl.col("series") == "full()")
    short = table.filter((pl.col("series") == "segment") & (pl.col("tau") == pl.col("tau").min()))
    if full.is_empty() or short.is_empty():
        return "What truncation makes of a network"
    words = f"Held-out loss at its best moment: the shortest segments {mean(short):.3f} nats, all credit "
    zoneout = full.filter(pl.col("zoneout") > 0).group_by("zoneout").agg(pl.col("report").mean())
    best = zoneout.sort("report").rows()[:1]
    more = "".join(f", zoneout of {rate:g} {loss:.3f}" for rate, loss in best)
    return words + f"{mean(full.filter(pl.col('zoneout') == 0)):.3f}{more}"


def at_equal_loss(table: pl.DataFrame):
    """A panel an estimator: the held-out loss where the training has come to."""
    with_tau = needed(table.filter(pl.col("tau").is_not_null()), "an estimator with a τ is needed")
    names = with_tau["series"].unique(maintain_order=True).to_list()
    figure, grid = panels(1, len(names), width=2.4, height=2.6, sharey=True, sharex=True)
    full = table.filter((pl.col("series") == "full()") & (pl.col("zoneout") == 0))
    line_of = shades(table["tau"].drop_nulls().unique())
    for axes, name in zip(grid[0], names):
        path(axes, full, "full()", "full()")
        for (tau,), rows in table.filter(pl.col("series") == name).sort("tau").group_by("tau", maintain_order=True):
            path(axes, rows, name, f"τ = {tau}", linestyle=line_of[tau])
        axes.axvline(EQUAL, color="0.6", linewidth=0.7)
        axes.set(xlabel="loss in training (nats)", title=name)
        axes.legend(fontsize=6.5)
    grid[0, 0].invert_xaxis()
    grid[0, 0].set_ylabel("held-out loss (nats)")
    figure.suptitle(message_at_equal_loss(table), x=0.01, ha="left", fontsize=9.5)
    return figure


def path(axes: Any, rows: pl.DataFrame, name: str, label: str, **look: Any) -> None:
    """The mean over seeds, from evaluation to evaluation."""
    x, y = (np.mean(np.array(rows[f"curve_{column}"].to_list()), axis=0) for column in ("trained_on", "report"))
    axes.plot(x, y, label=label, **style_of(name) | {"marker": "", "linewidth": 1.1} | look)


def message_at_equal_loss(table: pl.DataFrame) -> str:
    shortest = table.filter(pl.col("tau") == pl.col("tau").min()).group_by("series", maintain_order=True)
    words = [(f"{name} (τ = {rows['tau'][0]})", rows["at_equal_loss"].mean()) for (name,), rows in shortest][:2]
    full = table.filter((pl.col("series") == "full()") & (pl.col("zoneout") == 0))
    found = [("all credit", full["at_equal_loss"].mean()), *words]
    said = ", ".join(f"{name} {loss:.3f}" for name, loss in found if loss is not None)
    return f"Loss on held-out text where that in training is {EQUAL} nats: {said}"


def against_effect(table: pl.DataFrame):
    """What networks have become against their held-out loss: a line a method over its lengths, and one over the
    probabilities of each regulariser. What stands above each other has the same effect."""
    figure, grid = panels(1, len(BECOME), width=3.6, height=2.9)
    is_full = (pl.col("series") == "full()") & (pl.col("tau").is_null())
    dropped = table.filter(is_full & ((pl.col("zoneout") == 0) | (pl.col("dropout") > 0)))
    lines = [
        ("zoneout", table.filter(is_full & pl.col("zoneout").is_not_null()), "zoneout"),
        ("dropout", dropped.with_columns(pl.col("dropout").fill_null(0.0)), "dropout"),
    ]
    with_tau = table.filter(pl.col("tau").is_not_null() & (pl.col("zoneout") == 0))
    lines += [(name, rows, "tau") for (name,), rows in with_tau.group_by("series", maintain_order=True)]
    for axes, (column, words) in zip(grid[0], BECOME.items()):
        for name, rows, along in lines:
            means = rows.group_by(along).agg(pl.col("report").mean(), pl.col(column).mean()).sort(along)
            look = style_of("full()" if name in REGULARISERS else name)
            look |= {"color": REGULARISERS[name]} if name in REGULARISERS else {}
            axes.plot(means["report"], means[column], label=name, **look)
            for value, x, y in means.select(along, "report", column).rows():
                where = {"xytext": (3, 3), "textcoords": "offset points"}
                axes.annotate(f"{value:g}", (x, y), color=look["color"], fontsize=7, **where)
        axes.set(xlabel="held-out loss, best moment (nats)", ylabel=words)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    title = {"title": "numbers: τ, or a probability", "title_fontsize": "small"}
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize="small", **title)
    figure.suptitle(message_against_effect(table), x=0.01, ha="left", fontsize=9.5)
    return figure


def message_against_effect(table: pl.DataFrame) -> str:
    segments = table.filter((pl.col("series") == "segment") & (pl.col("tau") == pl.col("tau").min()))
    full = table.filter((pl.col("series") == "full()") & (pl.col("zoneout") > 0))
    if segments.is_empty() or full.is_empty():
        return "What networks have become, against their held-out loss"
    loss: Any = segments["report"].mean()
    means = full.group_by("zoneout").agg(pl.col("report").mean(), pl.col("horizon").mean())
    best = means.sort("report")["zoneout"][0]  # beyond which it does harm
    dropout = table.filter(pl.col("dropout") > 0).group_by("dropout").agg(pl.col("report").mean()).sort("report")
    more = "".join(f"; dropout of {rate:g}, the best, at {loss:.3f}" for rate, loss in dropout.rows()[:1])
    rate, same, horizon = means.filter(pl.col("zoneout") <= best).sort((pl.col("report") - loss).abs()).row(0)
    return (
        f"Segments of {segments['tau'][0]} end at {loss:.3f} nats with a horizon of {segments['horizon'].mean():.0f}"
        f" steps,\nzoneout of {rate:g} at {same:.3f} with one of {horizon:.0f}{more}"
    )
