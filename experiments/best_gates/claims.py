"""What is claimed of variances, of the same networks on the same batches."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side


def one(series: str, quantity: str = "", where: pl.Expr | None = None) -> Side:
    """One series, over all radii and stages of training."""
    is_it = pl.col("series") == series
    words = f"{series} {quantity}".strip()
    return Side(words, is_it if where is None else is_it & where, pooled=True, quantity=quantity)


OURS, EACH = "this package", ("losses", "tau")
EVERY_STEP = pl.col("losses") == "every step"
CLAIMS = (
    Claim(
        "Cutting where it costs least has less variance than cutting anywhere, by a tenth at least.",
        *(OURS, "variance", one("optimal", "least"), one("randomized"), "below", 0.1, True, EACH),
    ),
    Claim(
        "A running estimate finds such places, on batches that it has not seen.",
        *(OURS, "variance", one("optimal"), one("randomized"), "below", 0.0, True, EACH),
    ),
    Claim(
        "ARTBP has less variance than equal gates.",
        *(OURS, "variance", one("artbp"), one("randomized"), "below", 0.0, True, EACH),
    ),
    Claim(
        "ARTBP has more variance than the best independent gates, where there is a loss at every step.",
        *(OURS, "variance", one("artbp", where=EVERY_STEP), one("optimal", "least", EVERY_STEP)),
        *("above", 0.0, True, EACH),
    ),
)
