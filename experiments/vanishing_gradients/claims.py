"""What is claimed, and how the table judges it."""

from typing import Any

import polars as pl

from tbptt_jax.lab.claims import Judged, NotMeasured, Verdict, needed


def the_cell(table: pl.DataFrame, cell: Any, training: Any = None):
    rows = table.filter(pl.col("cell") == cell)
    rows = rows if training is None else rows.filter((pl.col("training") > 0) == training)
    return needed(rows, f"{cell} is needed")


def linear_follows_eigenvalues(table: pl.DataFrame):
    rows = the_cell(table, "linear")
    away = rows["away_from_eigenvalues"].max()
    orthogonal = needed(rows.filter(pl.col("orthogonal") & (pl.col("training") == 0)), "orthogonal matrices are needed")
    apart = (orthogonal["decay"] - orthogonal["radius"]).abs().max()
    measured = (
        f"largest difference of all credits to the eigenvalues' {away:.1e} of the largest credit; with an orthogonal "
        f"matrix the decay is the radius within {apart:.1e}"
    )
    return Verdict("reproduced" if away < 1e-3 and apart < 1e-3 else "not reproduced", measured)


def small_radius_vanishes(table: pl.DataFrame):
    tanh = the_cell(table, "tanh", training=False)
    rows = needed(tanh.filter(pl.col("radius") < 1), "a radius below 1 is needed")
    worst = (rows["decay"] / rows["radius"]).max()
    measured = f"largest decay over spectral radius below 1, at initialisation: {worst:.3f} in {rows.height} networks"
    return Verdict("reproduced" if rows["decay"].max() < 1 else "not reproduced", measured)


def large_radius_explodes(table: pl.DataFrame):
    rows = table.filter((pl.col("training") == 0) & (pl.col("radius") > 1))
    means = rows.group_by(["cell", "radius"]).agg(pl.col("decay").mean()).sort(["cell", "radius"])
    said = ", ".join(f"{cell} {radius:g}: {rate:.2f}" for cell, radius, rate in means.iter_rows())
    linear, tanh = (
        needed(means.filter(pl.col("cell") == cell), f"{cell} with a radius above 1 is needed")["decay"].min()
        for cell in ("linear", "tanh")
    )
    return Verdict(
        "reproduced" if linear > 1 and tanh > 1 else "not reproduced", f"mean decay by cell and radius: {said}"
    )


def gates_carry_credit(table: pl.DataFrame):
    ends = table.filter(pl.col("training").is_in([0, table["training"].max()]) & (pl.col("radius") == 1.0))
    means = ends.group_by(["cell", "training"]).agg(pl.col("decay").mean())
    found = {(cell, training > 0): rate for cell, training, rate in means.iter_rows()}
    said = ", ".join(
        f"{cell} {'trained' if after else 'at first'} {rate:.2f}" for (cell, after), rate in sorted(found.items())
    )
    if not {(cell, True) for cell in ("tanh", "gru", "lstm")} <= found.keys():
        raise NotMeasured("tanh, gru and lstm of radius 1, after training, are needed")
    better = all(found[cell, True] > found["tanh", True] for cell in ("gru", "lstm"))
    return Verdict("reproduced" if better else "not reproduced", f"mean decay a step at radius 1: {said}")


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
CLAIMS = (
    Judged("In a linear network credit follows the eigenvalues of W_hh.", CHAPTER, linear_follows_eigenvalues),
    Judged("Gradients of a tanh network vanish where the spectral radius is below 1.", CHAPTER, small_radius_vanishes),
    Judged("Gradients explode where the spectral radius is above 1.", CHAPTER, large_radius_explodes),
    Judged("After training, gated cells carry credit further than tanh.", CHAPTER, gates_carry_credit),
)
