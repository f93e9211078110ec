"""One immutable record a cell: a JSON file, and an NPZ beside it where the rows hold curves.

A record is written beside its place, flushed to the disk and renamed, so that it is there whole or not at all. It
carries a checksum of itself and of its curves; one that does not fit is set aside, reported, and computed again.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tbptt_jax.errors import UserError
from tbptt_jax.files import write_atomically

STATUSES = ("done", "diverged", "failed")
TABLE = "table.parquet"


class Record(NamedTuple):
    """What became of a cell: "done", "diverged" (a number is not finite) or "failed", and why."""

    identity: str
    config: dict[str, Any]
    status: str
    reason: str
    rows: list[dict[str, Any]]
    environment: dict[str, Any]
    seconds: float


class Store:
    """The records of one experiment, in `folder/cells`."""

    def __init__(self, folder: Path):
        self.cells = Path(folder) / "cells"

    def require_writable(self) -> None:
        """An error before anything is computed that could not be kept."""
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            probe = self.cells / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UserError(f"--results: cannot write to {self.cells}: {error.strerror}") from error

    def write(self, record: Record) -> None:
        curves = {
            f"{i}/{name}": np.asarray(value)
            for i, row in enumerate(record.rows)
            for name, value in row.items()
            if np.ndim(value)
        }
        body = record._asdict() | {
            "rows": [{k: scalar(v) for k, v in row.items() if not np.ndim(v)} for row in record.rows]
        }
        if curves:
            buffer = io.BytesIO()
            np.savez(buffer, **curves)  # type: ignore[arg-type]
            body["curves"] = digest(buffer.getvalue())
            self.put(f"{record.identity}.npz", buffer.getvalue())
        text = json.dumps(body, sort_keys=True)
        self.put(f"{record.identity}.json", json.dumps({"checksum": digest(text.encode()), "record": text}).encode())

    def put(self, name: str, content: bytes) -> None:
        write_atomically(self.cells / name, content)

    @contextmanager
    def scratch(self, identity: str) -> Iterator[Path]:
        """A folder for what a cell wants to find again if it is killed; it is removed when the cell is done."""
        folder = self.cells / ".scratch" / identity
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def read(self, identity: str) -> Record | None:
        """A cell's record; None where there is none, or none that can be trusted (which is then set aside)."""
        path = self.cells / f"{identity}.json"
        try:
            outer = json.loads(path.read_bytes())
            body = json.loads(outer["record"])
            if digest(outer["record"].encode()) != outer["checksum"] or body["identity"] != identity:
                raise ValueError
            if "curves" in body:
                content = path.with_suffix(".npz").read_bytes()
                if digest(content) != body.pop("curves"):
                    raise ValueError
                for name, curve in np.load(io.BytesIO(content)).items():
                    row, _, column = name.partition("/")
                    body["rows"][int(row)][column] = curve
            return Record(**body)
        except FileNotFoundError:
            if not path.exists():
                return None
        except (ValueError, KeyError, TypeError, UnicodeDecodeError):
            pass
        self.set_aside(path)
        return None

    def set_aside(self, path: Path) -> None:
        damaged = self.cells / "damaged"
        try:
            damaged.mkdir(exist_ok=True)
            for part in (path, path.with_suffix(".npz")):
                if part.exists():
                    os.replace(part, damaged / part.name)
        except OSError:
            return  # a read-only folder: it is not counted all the same

    def damaged(self) -> list[str]:
        return sorted(path.stem for path in (self.cells / "damaged").glob("*.json"))

    def write_grid(self, identities: list[str]) -> None:
        """Note which cells the latest run is about: figures and claims are of these."""
        self.put(".grid", "\n".join(identities).encode())

    def grid(self) -> list[str]:
        path = self.cells / ".grid"
        return path.read_text().split() if path.is_file() else []

    def records(self) -> list[Record]:
        found = (self.read(path.stem) for path in sorted(self.cells.glob("*.json")))
        return [record for record in found if record is not None]

    @contextmanager
    def claim(self, identity: str) -> Iterator[bool]:
        """Whether this runner has the cell to itself; the system lets go of the claim when its process dies."""
        with open(self.cells / f".{identity}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
            (self.cells / f".{identity}.lock").unlink(missing_ok=True)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def table(records: list[Record]) -> pl.DataFrame:
    """The tidy table: a row for every row of every finished cell, the cell's configuration beside what it measured.

    Curves are lists; a list of texts, as of estimators that belong together, is one text.
    """
    rows = [record.config | row for record in records if record.status == "done" for row in record.rows]
    rows = [{name: as_column(value) for name, value in row.items()} for row in rows]
    return pl.DataFrame(rows, infer_schema_length=None, strict=False)


def as_column(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return value.tolist() if hasattr(value, "tolist") else value


def scalars(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that hold numbers and texts: what can be written as CSV."""
    return frame.select([c for c in frame.columns if not frame[c].dtype.is_nested() and frame[c].dtype != pl.Object])


def write_table(frame: pl.DataFrame, folder: Path) -> None:
    """Commit a table, curves included and in full precision, to the one file that results are read from elsewhere."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    write_atomically(folder / TABLE, buffer.getvalue())


def load_results(name: str, results: str | os.PathLike = "results") -> pl.DataFrame:
    """The tidy table of an experiment: from its cells where they are, else the table that was committed."""
    folder = Path(results) / name
    records = Store(folder).records()
    if records:
        return table(records)
    if (folder / TABLE).is_file():
        return pl.read_parquet(folder / TABLE)
    raise UserError(f"results: there are none of {name!r} in {folder.parent}")
