"""The tidy table of an experiment: a row for every row of every finished cell. It is committed as one Parquet file.

The file also says of which cells it is and what made them, so that a run on another machine goes on from it.
"""

import base64
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tbptt_jax.files import write_atomically
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import as_list
from tbptt_jax.records.cell import Plan
from tbptt_jax.records.committed import ABOUT
from tbptt_jax.records.record import Record


def tidy(experiment: Experiment, records: Iterable[Record]) -> pl.DataFrame:
    """The table of the records that are done, in their order: the columns of a cell beside what it measured, and an
    empty one for every axis that no cell has. Where a cell was measured before an axis was added, its value is that of
    `Experiment.added`. Curves are lists; a list of texts is one text. Of an array larger than a mebibyte the table has
    the name of its file in `cells/arrays`, in the column NAME_file."""
    axes = {name: as_list(values) for scale in experiment.axes.values() for name, values in scale.items()}
    fixed: dict[str, list[Any]] = {name: [] for name in axes}
    given: dict[str, list[Any]] = {}
    height = 0
    for record in records:
        for row in record.rows if record.status == "done" else ():
            for columns, values in ((fixed, {**experiment.added, **record.config}), (given, row)):
                for name, value in values.items():
                    place = fixed if name in axes else columns  # an axis that is taken together is in the rows
                    column = place.setdefault(name, [])
                    column += [None] * (height - len(column))
                    column.append(value)
            height += 1
    for column in (*fixed.values(), *given.values()):
        column += [None] * (height - len(column))
    if height == 0:
        return pl.DataFrame()
    series = [as_series(name, values) for name, values in fixed.items()]
    series = [one.cast(kind_of(axes[one.name])) if one.dtype == pl.Null else one for one in series]
    return pl.DataFrame([*series, *(as_series(name, given[name]) for name in sorted(given))])


def kind_of(values: list[Any]) -> Any:
    """The type of a column in which no cell has an entry."""
    return pl.String if isinstance(values[0], str) else pl.Int64


def as_series(name: str, values: list[Any]) -> pl.Series:
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if arrays and all(array.ndim == 1 for array in arrays):
        widest = np.result_type(*arrays)
        wide = np.float64 if widest.kind == "f" else np.int64 if widest.kind in "iu" else widest
        found = [None if value is None else pl.Series(np.asarray(value).astype(wide)) for value in values]
        return pl.Series(name, found, dtype=pl.List(next(one.dtype for one in found if one is not None)))
    return pl.Series(name, [as_plain(value) for value in values], strict=False)


def as_plain(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def named(column: str) -> pl.Expr:
    """Of a column of texts that describe values, tasks or estimators, the names alone, as `name_in` reads them."""
    return pl.col(column).str.split("(").list.first()


def with_lines(table: pl.DataFrame, *panel: str) -> pl.DataFrame:
    """With a column `line`, by which a figure tells lines apart: the method, or the whole text of each variant where
    there are several of a method, in one panel if columns say which that is."""
    variants = pl.col("series").n_unique().over("method", *panel)
    return table.with_columns(line=pl.when(variants > 1).then(pl.col("series")).otherwise(pl.col("method")))


def scalars(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that hold numbers and texts: what can be written as CSV."""
    return frame.select([c for c in frame.columns if not frame[c].dtype.is_nested() and frame[c].dtype != pl.Object])


class Head(NamedTuple):
    """A record without what it measured, and how many rows of a table are its."""

    identity: str
    origin: str
    status: str
    reason: str
    environment: str
    seconds: float
    height: int
    config: dict[str, Any]


def head(record: Record) -> Head:
    height = len(record.rows) if record.status == "done" else 0
    words = (record.identity, record.origin, record.status, record.reason, record.environment, record.seconds)
    return Head(*words, height, record.config)


def write_table(frame: pl.DataFrame, plan: Plan, heads: Sequence[Head], notes: Mapping[str, Any], path: Path) -> None:
    """Commit a table, curves included and in full precision, and what its records come from."""
    used = {name for one in heads for name in (one.origin, one.environment)}
    fixed = {name for one in heads for name in one.config}
    about = {
        "experiment": plan.experiment,
        "version": plan.version,
        "asked": plan.asked,
        "cells": len(plan.cells),
        "measured": [name for name in frame.columns if name not in fixed],
        "notes": {name: notes[name] for name in sorted(used) if name in notes},
        "records": heads,
    }
    text = base64.b64encode(zlib.compress(json.dumps(about).encode(), 9)).decode()
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", metadata={ABOUT: text})
    write_atomically(path, buffer.getvalue())
