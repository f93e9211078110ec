"""Results as a table, for whoever draws and judges in Python."""

import os
import sys
from pathlib import Path
from typing import Any

import polars as pl

from tbptt_jax.errors import UserError, choose
from tbptt_jax.experiments import load as load_experiment
from tbptt_jax.experiments import names
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.loading import load
from tbptt_jax.records.committed import TABLE


def load_results(
    name: str, results: str | os.PathLike = "results", scale: str = "default", **choices: Any
) -> pl.DataFrame:
    """The tidy table of an experiment at one scale.

    It is of the records that fit the code as it is, or the committed table where that holds more. What is loaded is
    said on stderr, if anything is missing or was measured otherwise.

    Args:
        name: The experiment's name, or the file that it stands in.
        results: The folder that holds the records and the tables.
        scale: "smoke", "default" or "paper".
        **choices: Those of `tb.lab.Choices`, such as other values of an axis.

    Returns:
        A row for every row that a cell measured.
    """
    for name_of_choice in choices:
        choose("load_results", name_of_choice, vars(Choices()))
    texts: dict[str, Any] = {one: [value] if isinstance(value, str) else value for one, value in choices.items()}
    asked = Choices(scale, **texts)
    if not name.endswith(".py") and "/" not in name and name not in names():
        path = asked.place(Path(results) / name) / TABLE
        if path.is_file():
            return pl.read_parquet(path)
        raise UserError(f"results: there is no table of {name!r} at {asked} in {Path(results)}")
    loaded = load(load_experiment(name), Path(results), asked)
    frame = loaded.frame()
    if frame.is_empty():
        raise UserError(f"results: there are none of {loaded.said}")
    if loaded.counts["done"] < len(loaded.plan.cells):
        print(loaded.said, file=sys.stderr)
    return frame
