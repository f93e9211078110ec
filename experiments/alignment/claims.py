"""What is claimed of cosines with the exact gradient, and what holds by construction."""

import polars as pl

from tbptt_jax.lab.claims import Check, Claim, Side, needed


def exact_ones_agree(table: pl.DataFrame):
    rows = needed(table.filter(pl.col("method") == "rtrl"), "rtrl is needed")
    return bool((rows["mean"] > 0.999).all()), f"smallest mean cosine {rows['mean'].min():.6f}"


MARSCHALL = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"
IS_BIASED, IS_EXACT = pl.col("unbiased") == "never", pl.col("method").is_in(["full", "rtrl"])
BIASED = Side("biased estimators", IS_BIASED, pooled=True)
NOISY = Side("noisy unbiased estimators", ~IS_BIASED & ~IS_EXACT, pooled=True)
SNAP, RFLO = (Side(name, pl.col("method") == name) for name in ("snap", "rflo"))
CRITIC = "critic=features(count=64)"
MARGIN = 0.05
"""Of what a critic adds to a cosine, the least that matters."""
ORDER = (  # which of two is nearer the gradient, who says so, and by how much at least
    ("ok()", "kf_rtrl()", "Benzing et al. 2019, Optimal Kronecker-sum approximation of RTRL", 0.0),
    ("kf_rtrl()", "uoro()", "Mujika, Meier & Steger 2018, Approximating RTRL with random Kronecker factors", 0.0),
    ("sketched()", "snap()", "a low-rank sketch of the rest, 2026", 0.0),
    (f"randomized(keep=0.75, {CRITIC})", "randomized(keep=0.75)", "this package", MARGIN),
    (f"segment(tau=4, {CRITIC})", "segment(tau=4)", "Jaderberg et al. 2017", MARGIN),
)


def named(estimator: str) -> Side:
    return Side(estimator, pl.col("estimator") == estimator)


CHECKS = (Check("RTRL is the exact gradient within a chunk.", "an identity", exact_ones_agree),)
CLAIMS = (
    Claim(
        "Biased estimates are on average better aligned with the gradient than noisy unbiased ones.",
        *(MARSCHALL, "mean", BIASED, NOISY, "above"),
        each=("cell",),
    ),
    *(
        Claim(f"{a} is better aligned than {b}.", source, "mean", named(a), named(b), "above", margin, each=("cell",))
        for a, b, source, margin in ORDER
    ),
    Claim("SnAp-1 is better aligned than RFLO.", "Menick et al. 2021", "mean", SNAP, RFLO, "above", each=("cell",)),
)
