"""The records of one experiment: shards, one a runner, to which lines are only ever added.

A line is there whole or not at all: it carries a checksum, and what a killed runner left half written is no line. So
folders of several machines merge by copying. A record that is finished is never replaced: of two, the first counts.
"""

import errno
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from tbptt_jax.errors import Stopped, UserError
from tbptt_jax.files import create, write_atomically
from tbptt_jax.records.record import Record, body_of, decode, encode, note

FINISHED = ("done", "diverged")


class Place(NamedTuple):
    """Where a record stands, and what need not be read for."""

    status: str
    shard: str
    start: int
    end: int
    turn: int
    """How many records had been seen before it."""


class Damage(NamedTuple):
    """A line that cannot be trusted."""

    shard: str
    start: int
    end: int
    why: str


class Store:
    """The records in `folder/cells`. `refresh` reads what has been added, by this runner or by others."""

    def __init__(self, folder: Path):
        self.cells = Path(folder) / "cells"
        self.places: dict[tuple[str, str], Place] = {}
        """Of a cell, by what else decides its numbers, the record that counts."""
        self.notes: dict[str, dict[str, Any]] = {}
        """What records share: origins and environments, by digest."""
        self.damaged: list[Damage] = []
        self.turn = 0
        self._read: dict[str, int] = {}
        self._shard: int | None = None
        self._name = ""
        self._written = 0
        self._noted: set[str] = set()

    # reading

    def refresh(self) -> "Store":
        """Read on in every shard, as far as there are whole lines."""
        try:
            shards = [entry for entry in os.scandir(self.cells) if entry.name.endswith(".jsonl")]
            grown = [one.name for one in shards if one.stat().st_size > self._read.get(one.name, 0)]
        except FileNotFoundError:
            return self
        except OSError as error:
            raise Stopped(f"--results: {self.cells} cannot be read: {error.strerror}") from error
        for name in sorted(grown):
            self._read_on(name)
        return self

    def _read_on(self, name: str) -> None:
        start = self._read.get(name, 0)
        try:
            with open(self.cells / name, "rb") as file:
                file.seek(start)
                for text in file:
                    if not text.endswith(b"\n"):
                        break
                    self._take(name, start, text)
                    start += len(text)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise Stopped(
                f"--results: {self.cells / name} belongs to another user and cannot be read; have it made readable, "
                "or give another folder"
            ) from error
        except OSError as error:
            raise Stopped(f"--results: {self.cells / name} cannot be read: {error.strerror}") from error
        self._read[name] = start

    def _take(self, name: str, start: int, text: bytes) -> None:
        end = start + len(text)
        try:
            body = body_of(text[:-1])
            if "note" in body:
                self.notes[text[: text.index(b" ")].decode()] = body["note"]
                return
            record = body["record"]
            key = str(record["identity"]), intern(str(record["origin"]))
            place = Place(intern(str(record["status"])), name, start, end, self.turn)
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            self.damaged.append(Damage(name, start, end, str(error) or type(error).__name__))
            return
        self.turn += 1
        known = self.places.get(key)
        if known is None or known.status not in FINISHED:
            self.places[key] = place

    def read(self, identity: str, origin: str, large: bool = True) -> Record | None:
        """A cell's record; None where there is none, or none whose arrays can be trusted. Of large arrays it has the
        names of their files if they are not wanted."""
        place = self.places.get((identity, origin))
        if place is None:
            return None
        try:
            with open(self.cells / place.shard, "rb") as file:
                file.seek(place.start)
                body = body_of(file.read(place.end - place.start)[:-1])["record"]
            record = decode(body, self._array if large else None)
            if (record.identity, record.origin) != (identity, origin):
                raise ValueError("another record stands in its place")
            return record
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            self.damaged.append(Damage(place.shard, place.start, place.end, str(error)))
            del self.places[identity, origin]
            return None

    def _array(self, name: str) -> bytes:
        return (self.cells / "arrays" / os.path.basename(name)).read_bytes()

    def records(self, keys: Iterable[tuple[str, str]], large: bool = False) -> Iterator[Record]:
        """Those of these cells that there are, one at a time."""
        for key in keys:
            record = self.read(*key, large)
            if record is not None:
                yield record

    # writing

    def require_writable(self) -> None:
        """An error before anything is computed that could not be kept."""
        try:
            (self.cells / "arrays").mkdir(parents=True, exist_ok=True)
            probe = self.cells / f".probe-{secrets.token_hex(8)}"
            os.close(create(probe))
            probe.unlink()
        except OSError as error:
            raise UserError(f"--results: cannot write to {self.cells}: {error.strerror}") from error

    def add(self, record: Record, notes: Iterable[Any]) -> None:
        """Add a record, after the notes that it names."""
        self.append(*encode(record), notes)

    def append(self, line: bytes, arrays: dict[str, bytes] | None = None, notes: Iterable[Any] = ()) -> None:
        """Add a line, after the files and the notes that it names. It is on the disk after the next `flush`."""
        try:
            for name, content in (arrays or {}).items():
                path = self.cells / "arrays" / os.path.basename(name)
                if not path.exists():
                    write_atomically(path, content)
            for value in notes:
                self._note(value)
            self._append(line)
        except OSError as error:
            raise Stopped(
                f"--results: {self.cells}: {reason(error)}; what was recorded before is kept, and the same command "
                "goes on from there"
            ) from error

    def _note(self, value: Any) -> None:
        text = note(value)
        name = text[: text.index(b" ")].decode()
        if name not in self._noted:
            self._append(text)
            self._noted.add(name)

    def _append(self, text: bytes) -> None:
        if self._shard is None:
            self._name = f"{secrets.token_hex(8)}.jsonl"
            self._shard = create(self.cells / self._name)
        elif not (self.cells / self._name).exists():
            raise FileNotFoundError(errno.ENOENT, "the folder has vanished")
        try:
            done = 0
            while done < len(text):
                done += os.write(self._shard, text[done:])
        except OSError:
            os.ftruncate(self._shard, self._written)  # half a line would hide the next one
            raise
        self._written += len(text)

    def flush(self) -> None:
        """See that what was added is on the disk."""
        if self._shard is not None:
            try:
                os.fsync(self._shard)
            except OSError as error:
                raise Stopped(f"--results: {self.cells}: {reason(error)}") from error

    def close(self) -> None:
        if self._shard is not None:
            with suppress(OSError):
                os.fsync(self._shard)
            os.close(self._shard)
            self._shard = None

    def repair(self) -> int:
        """Write shards with damaged lines anew without them, and keep what they were in `damaged/`."""
        torn = {damage.shard for damage in self.damaged} | set(self.unfinished())
        for name in sorted(torn):
            path = self.cells / name
            content = path.read_bytes()
            bad = {damage.start: damage.end for damage in self.damaged if damage.shard == name}
            whole, at = [], 0
            for text in io.BytesIO(content):  # lines as `refresh` reads them: a damaged one may hold anything
                if at not in bad and text.endswith(b"\n"):
                    whole.append(text)
                at += len(text)
            (self.cells / "damaged").mkdir(exist_ok=True)
            write_atomically(self.cells / "damaged" / f"{secrets.token_hex(4)}-{name}", content)
            write_atomically(path, b"".join(whole))
        return len(torn)

    def unfinished(self) -> list[str]:
        """The shards whose last line was never finished."""
        return [name for name, end in self._read.items() if (self.cells / name).stat().st_size > end]


def reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "it cannot be written to any more"
    return error.strerror or str(error)


def older_records(folder: Path) -> int:
    """How many records lie there that an earlier version wrote, a file each, without saying what made them."""
    try:
        return sum(path.suffix == ".json" and not path.name.startswith(".") for path in (folder / "cells").iterdir())
    except OSError:
        return 0
