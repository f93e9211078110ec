"""What is claimed of exact variances over ‖g‖², of the same networks and streams; and what holds by construction."""

import polars as pl

from tbptt_jax.lab.claims import Check, Claim, Side, needed

VICOL = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"
LI = "Li et al. 2023, Noise-reuse in online evolution strategies"
REUSE = 8  # chunks that share their noise in GPES
SIGMA = 0.001  # so small that differences are linear in it, as the closed form has them
ESTIMATORS = [
    *(f"{name}(sigma={SIGMA}, particles=1)" for name in ("truncated_es", "pes", "nres")),
    f"gpes(sigma={SIGMA}, particles=1, reuse={REUSE})",
]
SHORTEST, LONGEST = pl.col("unroll") == pl.col("unroll").min(), pl.col("unroll") == pl.col("unroll").max()
CUT = pl.col("unroll") < pl.col("steps")
MANY = (pl.col("unroll") * REUSE <= pl.col("steps")) & (pl.col("stream") == "random")


def one(method: str, where: pl.Expr, words: str) -> Side:
    return Side(f"{method} {words}", (pl.col("method") == method) & where)


def pes(kind: str, where: pl.Expr, words: str) -> Side:
    return one("pes", (pl.col("stream") == kind) & where, f"in {words} unrolls of a {kind} stream")


def sampling_agrees(table: pl.DataFrame):
    """The limit of small perturbations against sigma = 0.001: within 5 standard errors or a twentieth."""
    rows = needed(table.filter(pl.col("sampled").is_not_null()), "a variance that was sampled is needed")
    away = rows.with_columns(((pl.col("sampled") / pl.col("variance")) - 1).abs().alias("away"))
    wrong = away.filter((pl.col("away") > 0.05) & (pl.col("away") > 5 * pl.col("error") / pl.col("variance")))
    furthest = away["away"].max()
    return wrong.is_empty(), f"{wrong.height} of {rows.height} are further apart; the furthest by {furthest:.2g} of it"


def persistent_noise_is_unbiased(table: pl.DataFrame):
    rows = needed(table.filter(pl.col("method").is_in(["pes", "nres", "gpes"])), "pes, nres or gpes is needed")
    largest = rows["bias"].max()
    return largest < 1e-6, f"largest bias² {largest:.1e} ‖g‖²"  # type: ignore[operator]


EACH = ("stream", "unroll")
CHECKS = (
    Check("The variance in closed form is that of sampling.", "an identity", sampling_agrees),
    Check("PES, NRES and GPES are unbiased.", VICOL, persistent_noise_is_unbiased),
)
CLAIMS = (
    Claim(
        "The variance of PES grows with the number of unrolls, where these are random.",
        *(VICOL, "variance", pes("random", SHORTEST, "the most"), pes("random", LONGEST, "the fewest"), "above"),
        ratio=True,
    ),
    Claim(
        "It falls with their number, where they are all alike.",
        *(VICOL, "variance", pes("constant", SHORTEST, "the most"), pes("constant", LONGEST, "the fewest"), "below"),
        ratio=True,
    ),
    Claim(
        "Reusing the noise has less variance than drawing it anew for every chunk.",
        *(LI, "variance", one("nres", CUT, "over more than one unroll"), one("pes", CUT, "over more than one unroll")),
        *("below", 0.0, True, EACH),
    ),
    Claim(
        "Over as many random unrolls as share their noise, or more, GPES has less variance than PES.",
        *(LI, "variance", one("gpes", MANY, "over many random unrolls"), one("pes", MANY, "over many random unrolls")),
        *("below", 0.0, True, ("unroll",)),
    ),
    Claim(
        "Truncated ES is biased: by more than a hundredth of ‖g‖² in unrolls of 4 steps and fewer.",
        *(VICOL, "bias", one("truncated_es", pl.col("unroll") <= 4, "in short unrolls"), 0.01, "above", 0.0, True),
        each=EACH,
    ),
)
