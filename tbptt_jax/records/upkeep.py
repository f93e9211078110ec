"""Looking after records: whether every one is whole, and bringing together what several machines measured."""

import os
import secrets
from pathlib import Path
from typing import NamedTuple

from tbptt_jax.errors import UserError
from tbptt_jax.files import write_atomically
from tbptt_jax.records.committed import TABLE, about, committed_records
from tbptt_jax.records.leases import alive
from tbptt_jax.records.store import Store


class Health(NamedTuple):
    """Of one experiment's folder: how many records are whole, and in words what is not."""

    name: str
    whole: int
    trouble: list[str]


def experiments_in(results: Path) -> list[Path]:
    """The folders below a results folder that hold records or a committed table."""
    if not results.is_dir():
        raise UserError(f"results: there is no folder {results}")
    return sorted(path for path in results.iterdir() if (path / "cells").is_dir() or any(path.glob(f"**/{TABLE}")))


def verified(folder: Path, repair: bool) -> Health:
    """Read every record and every large array; with `repair`, write anew what is damaged without it."""
    store = Store(folder).refresh()
    whole = sum(1 for _ in store.records(list(store.places), large=True))
    trouble = [f"{one.shard}, bytes {one.start} to {one.end}: {one.why}" for one in store.damaged]
    trouble += [f"{name}: its last line was never finished" for name in store.unfinished()]
    for path in sorted(folder.glob(f"**/{TABLE}")):
        try:
            if (words := about(path)) is not None:
                committed_records(path)
                whole += len(words["records"])
        except Exception as error:  # Parquet has many ways to be damaged
            trouble.append(f"{path.relative_to(folder)}: {type(error).__name__}: {str(error)[:200]}")
    if repair and trouble:
        if working := [f"process {one['pid']} on {one['host']}" for one in alive(store.cells)]:
            raise UserError(f"--repair: {', '.join(working)} is at work on {folder}; wait until it has ended")
        store.repair()
    return Health(folder.name, whole, trouble)


def merge(folder: Path, other: Path) -> int:
    """Take into an experiment's folder the records of another machine's; how many cells are new."""
    mine = Store(folder)
    mine.require_writable()
    before = len(mine.refresh().places)
    for path in sorted((other / "cells").glob("*.jsonl")):
        content, place = path.read_bytes(), mine.cells / path.name
        if place.exists():
            here = place.read_bytes()
            if here.startswith(content):
                continue
            if not content.startswith(here):  # two files of one name: both count
                place = place.with_name(f"{secrets.token_hex(8)}.jsonl")
        write_atomically(place, content)
    for path in sorted((other / "cells" / "arrays").glob("*.npy")):
        if not (mine.cells / "arrays" / path.name).exists():
            write_atomically(mine.cells / "arrays" / os.path.basename(path.name), path.read_bytes())
    mine = Store(folder).refresh()
    for path in sorted(other.glob(f"**/{TABLE}")):
        records, notes = committed_records(path)
        for record in records:
            if (record.identity, record.origin) not in mine.places:
                mine.add(record, [notes[name] for name in (record.origin, record.environment) if name in notes])
    mine.close()
    return len(Store(folder).refresh().places) - before
