"""The table that is committed of an experiment, as records: a run in a fresh clone goes on from it."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tbptt_jax.errors import UserError
from tbptt_jax.records.cell import Plan
from tbptt_jax.records.record import Record
from tbptt_jax.records.store import Store

TABLE = "table.parquet"
ABOUT = "tbptt_jax"
"""The key, in the file's metadata, of what it says of its records."""


def noted_cap(folder: Path, asked: str) -> int | None:
    """How many seeds there may be of a grid, by the provenance of what is committed of it: None where none were to be
    added."""
    for place in (folder, *folder.glob("*/")):
        path = place / "provenance.json"
        words = json.loads(path.read_text()) if path.is_file() else {}
        if words.get("asked") == asked:
            return words.get("cap")
    return None


def about(path: Path) -> dict[str, Any] | None:
    """What a committed table says of its records; None where it is of a version that did not."""
    import polars as pl

    text = pl.read_parquet_metadata(path).get(ABOUT)
    if text is None:
        return None
    decompress = zlib.decompressobj()
    content = decompress.decompress(base64.b64decode(text), 1 << 28)
    if decompress.unconsumed_tail:
        raise UserError(f"{path}: what it says of its records has no end")
    return json.loads(content)


def committed_records(path: Path) -> tuple[list[Record], dict[str, Any]]:
    """The records that a committed table was made of, and what they share by digest; those that failed are left out."""
    words = about(path)
    if words is None:
        return [], {}
    import polars as pl

    rows = pl.read_parquet(path).to_dicts()
    records, at, names = [], 0, words["measured"]
    for identity, origin, status, reason, environment, seconds, height, config in words["records"]:
        measured = [{name: as_array(row[name]) for name in names} for row in rows[at : at + height]]
        at += height
        if status != "failed":
            records.append(Record(identity, origin, config, status, reason, measured, environment, seconds))
    return records, words["notes"]


def as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, list) else value


def as_committed(planned: Plan, folder: Path) -> Plan:
    """The same plan, whose cells that a committed table holds count as they were measured, although code has changed
    since: where data, precision and devices are the same."""
    origins = dict(planned.origins)
    made: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob(f"**/{TABLE}")):
        words = about(path) or {"records": [], "notes": {}}
        for identity, origin, status, *_ in words["records"]:
            then = words["notes"].get(origin)
            if status == "done" and then is not None:
                made[identity, all_but_code(then)] = origin
                origins[origin] = then
    cells = [
        cell._replace(origin=made.get((cell.identity, all_but_code(origins[cell.origin])), cell.origin))
        for cell in planned.cells
    ]
    return planned._replace(cells=cells, origins={name: origins[name] for name in {cell.origin for cell in cells}})


def all_but_code(origin: dict[str, Any]) -> str:
    return json.dumps(origin | {"code": None}, sort_keys=True)


def adopt(store: Store, planned: Plan, folder: Path) -> int:
    """Take over from the committed tables below a folder what the store lacks and what fits; how many cells."""
    lacking = {cell.key for cell in planned.cells if cell.key not in store.places}
    taken = 0
    for path in sorted(folder.glob(f"**/{TABLE}")) if lacking else ():
        records, notes = committed_records(path)
        for record in records:
            if (record.identity, record.origin) in lacking:
                store.add(record, [notes[name] for name in (record.origin, record.environment) if name in notes])
                lacking.discard((record.identity, record.origin))
                taken += 1
    store.flush()
    store.refresh()
    return taken
