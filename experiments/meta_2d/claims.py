"""What is claimed of the mean height over all steps, where the training ends."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

VICOL = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies, the toy meta-optimisation"
LI = "Li et al. 2023, Noise-reuse in online evolution strategies"
MARGIN = 0.05


def of(method: str) -> Side:
    return Side(method, pl.col("method") == method)


def compare(sentence: str, source: str, ours: str, theirs: str, direction: str = "below") -> Claim:
    return Claim(sentence, source, "meta_loss", of(ours), of(theirs), direction, MARGIN, True)


CLAIMS = (
    compare("PES ends below truncated ES.", VICOL, "pes", "truncated_es"),
    compare("PES ends below truncated backpropagation.", VICOL, "pes", "segment"),
    compare("PES ends below full backpropagation, which follows the surface's bumps.", VICOL, "pes", "full"),
    compare("PES ends level with ES of whole descents.", "this package", "pes", "es", "level"),
    compare("NRES ends level with PES.", LI, "nres", "pes", "level"),
)
