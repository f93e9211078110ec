"""What is claimed of the decay of credit a step, and what holds by construction."""

import polars as pl

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.claims import Check, Claim, Side, needed


def linear_follows_eigenvalues(table: pl.DataFrame):
    rows = needed(table.filter(pl.col("cell") == "linear"), "linear networks are needed")
    away = rows["away_from_eigenvalues"].max()
    orthogonal = needed(rows.filter(pl.col("orthogonal") & (pl.col("training") == 0)), "orthogonal matrices are needed")
    apart = (orthogonal["decay"] - orthogonal["radius"]).abs().max()
    measured = (
        f"largest difference of all credits to the eigenvalues' {away:.1e} of the largest credit; with an orthogonal "
        f"matrix the decay is the radius within {apart:.1e}"
    )
    return away < 1e-3 and apart < 1e-3, measured  # type: ignore[operator]


def network(cell: str, where: pl.Expr, words: str) -> Side:
    return Side(f"{cell} networks of {words}", (pl.col("cell") == cell) & where)


AT_FIRST, TRAINED = pl.col("training") == 0, pl.col("training") == pl.col("training").max()
SMALL = network("tanh", AT_FIRST & (pl.col("radius") < 1), "a radius below 1, at first")
LARGE = network("tanh", AT_FIRST & (pl.col("radius") > 1), "a radius above 1, at first")
GATED = {
    cell: network(cell, TRAINED & (pl.col("radius") == 1.0), "radius 1, trained") for cell in ("tanh", "gru", "lstm")
}
EACH = ("radius", "orthogonal")
CHECKS = (Check("In a linear network credit follows the eigenvalues of W_hh.", CHAPTER, linear_follows_eigenvalues),)
CLAIMS = (
    Claim(
        "Gradients of a tanh network vanish where the spectral radius is below 1.",
        *(CHAPTER, "decay", SMALL, 1.0, "below", 0.0, True, EACH),
    ),
    Claim(
        "Gradients of a tanh network explode where the spectral radius is above 1.",
        *(CHAPTER, "decay", LARGE, 1.0, "above", 0.0, True, EACH),
    ),
    *(
        Claim(
            f"After training on what stands 24 steps back, {cell} carries its credit there with less loss a step than "
            "tanh.",
            *(CHAPTER, "carried", GATED[cell], GATED["tanh"], "above", 0.0, True, ("orthogonal",)),
            average="median",  # some networks of each do not learn it
        )
        for cell in ("gru", "lstm")
    ),
)
