"""What is claimed of networks after training with short and with full credit."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

CHAPTER = "the textbook chapter and lecture on backpropagation through time"
FULL = Side("full backpropagation", (pl.col("series") == "full()") & (pl.col("zoneout") == 0))
SHORTEST = {
    series: Side(f"the shortest {series}s", (pl.col("series") == series) & (pl.col("tau") == pl.col("tau").min()))
    for series in ("segment", "window")
}
SENTENCES = {
    "horizon": "A model that is trained with {} looks back less far than one with all credit.",
    "gap": "With {} the gap between training and held-out loss is smaller than with all credit.",
    "held_out": "With {} the held-out loss at the end is smaller than with all credit.",
}
CLAIMS = tuple(
    Claim(sentence.format(side.name), CHAPTER, quantity, side, FULL)
    for quantity, sentence in SENTENCES.items()
    for side in SHORTEST.values()
)
