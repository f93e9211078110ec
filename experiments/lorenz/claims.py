"""What is claimed, and how the table judges it."""

import polars as pl

from tbptt_jax.experiments.lorenz.measure import TRUE_RHO
from tbptt_jax.lab.claims import Judged, Verdict


def exact_gradient_explodes(table: pl.DataFrame):
    rows = table.sort("tau")
    ratio = abs(rows["gradient"][-1] / rows["response"][-1])
    measured = f"over {rows['tau'][-1]} steps the gradient is {ratio:.2g} times the response by finite differences"
    return Verdict("reproduced" if ratio > 100 else "not reproduced", measured)


def truncation_works(table: pl.DataFrame):
    good = table.filter((pl.col("gradient") / pl.col("response")).is_between(0.5, 2))
    fitted = table.filter((pl.col("left_at") < 0) & ((pl.col("fitted") - TRUE_RHO).abs() < 0.5))
    near, fits = (", ".join(map(str, rows["tau"].sort())) or "none" for rows in (good, fitted))
    measured = f"gradients within a factor 2 of the response at τ = {near}; rho within 0.5 of 28 at τ = {fits}"
    both = set(good["tau"]) & set(fitted["tau"])
    return Verdict("reproduced" if both else "not reproduced", measured)


CLAIMS = (
    Judged("The exact gradient of a long chaotic simulation explodes.", "folklore", exact_gradient_explodes),
    Judged("Segments of some length give a gradient that fits the parameter.", "folklore", truncation_works),
)
