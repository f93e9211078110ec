"""What is claimed of the loss at the end of the training, from starts that were not trained on."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

LI = "Li et al. 2023, Noise-reuse in online evolution strategies, the Lorenz figure"
MARGIN = 0.05


def of(method: str) -> Side:
    return Side(method, pl.col("method") == method)


CLAIMS = tuple(
    Claim(
        f"NRES ends with a smaller loss than {words}.", LI, "test_loss", of("nres"), of(method), "below", MARGIN, True
    )
    for method, words in {
        "pes": "PES",
        "truncated_es": "truncated ES",
        "segment": "truncated backpropagation",
        "full": "full backpropagation",
        "uoro": "UORO",
        "dodge": "directional derivatives",
        "es": "ES of whole simulations",
    }.items()
)
