"""Loss against symbols; at the end, against seconds and the numbers that are carried: a row a cell."""

from functools import partial

import polars as pl

from tbptt_jax.experiments.online.figures import losses


def draw(table: pl.DataFrame) -> dict:
    titled = [("window", "rolling"), ("segment", "rolling"), ("uoro", "window")]
    return {"losses": partial(losses, table, of="cell", against=("pace", "carried"), titled=titled)}
