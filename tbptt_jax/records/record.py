"""What became of a cell, as one line of text: a checksum of the rest, and JSON.

Small arrays are in the line, large ones in a file of their own that is named after its content. What the records of a
run share, such as the code that made them, stands in a line before them, and they name it by its digest.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tbptt_jax.errors import UserError

STATUSES = ("done", "diverged", "failed")
ALLOWED = "a number, a text, None, or an array of booleans, whole numbers, floats or texts"
KINDS = "biufU"
LARGE = 1 << 20  # bytes of an array that has a file of its own


class Record(NamedTuple):
    """What became of a cell: "done", "diverged" (a number is not finite) or "failed", and why."""

    identity: str
    """Of the cell: its experiment, that one's version, and its axes."""
    origin: str
    """The digest of what else decides its numbers: code, data, precision, devices."""
    config: dict[str, Any]
    status: str
    reason: str
    rows: list[dict[str, Any]]
    environment: str
    """The digest of where it was computed."""
    seconds: float


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def line(body: bytes) -> bytes:
    """A line of a shard."""
    return digest(body).encode() + b" " + body + b"\n"


def body_of(text: bytes) -> Any:
    """What a line without its end says; a ValueError if it is not as it was written."""
    checksum, _, body = text.partition(b" ")
    if digest(body).encode() != checksum:
        raise ValueError("the checksum does not fit")
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("nested without end") from error


def note(value: Mapping[str, Any]) -> bytes:
    """The line of what records share; they name it by `digest(canonical(value))`."""
    return line(canonical({"note": value}))


def encode(record: Record) -> tuple[bytes, dict[str, bytes]]:
    """A record's line, and the files of its large arrays by name."""
    rows, arrays, files = [], [], {}
    for i, row in enumerate(record.rows):
        rows.append({name: value for name, value in row.items() if not isinstance(value, np.ndarray)})
        for name, array in row.items():
            if not isinstance(array, np.ndarray):
                continue
            if array.nbytes < LARGE:
                array = np.ascontiguousarray(array)
                arrays.append([i, name, array.dtype.str, array.shape, base64.b64encode(array.tobytes()).decode()])
            else:
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                content = buffer.getvalue()
                file = f"{digest(content)}.npy"
                files[file] = content
                arrays.append([i, name, file])
    body = record._asdict() | {"rows": rows, "arrays": arrays}
    return line(canonical({"record": body})), files


def decode(body: dict[str, Any], file: Callable[[str], bytes] | None) -> Record:
    """The record of a line's content. `file(name)` gives the content of a large array; without it, a row has the name
    of that file, under the column's name and "_file"."""
    body = dict(body)
    rows = [dict(row) for row in body["rows"]]
    for i, name, *array in body.pop("arrays"):
        if len(array) == 1 and file is None:
            rows[i][f"{name}_file"] = array[0]
        elif len(array) == 1:
            assert file is not None
            content = file(array[0])
            if f"{digest(content)}.npy" != array[0]:
                raise ValueError(f"{array[0]} is damaged")
            rows[i][name] = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            kind, shape, text = array
            rows[i][name] = np.frombuffer(base64.b64decode(text), kind).reshape(shape)
    return Record(**body | {"rows": rows})


def storable(rows: Any, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows with plain numbers, texts and NumPy arrays, without what the cell's `columns` say already; whatever cannot
    be kept is an error that says where it is."""
    if not isinstance(rows, list | tuple):
        raise UserError(f"measure: a list of rows is needed, got {type(rows).__name__}")
    found = []
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise UserError(f"measure: row {i}: a dict is needed, got {type(row).__name__}")
        for name in row:
            if not isinstance(name, str) or not name:
                raise UserError(f"measure: row {i}: the name of a column must be a text, got {name!r}")
            if name in columns and not np.array_equal(row[name], columns[name]):
                raise UserError(
                    f"measure: row {i}: {name!r} is {columns[name]!r} in the cell's own columns; name the other one "
                    "otherwise"
                )
        found.append(
            {name: plain(value, f"measure: row {i}, {name}") for name, value in row.items() if name not in columns}
        )
    return found


def plain(value: Any, where: str) -> Any:
    """A value as it is kept; arrays of any library become NumPy's."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float | str):
        return float(value) if isinstance(value, float) else str(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise UserError(f"{where}: {str(value)[:12]}… does not fit into 64 bits; make it a float")
        return value
    if not isinstance(value, list | tuple | np.ndarray | np.generic) and not hasattr(value, "__array__"):
        raise UserError(f"{where}: {ALLOWED} is needed, got {type(value).__name__} {str(value)[:40]}")
    try:
        array = np.asarray(value)
    except Exception as error:
        raise UserError(f"{where}: {ALLOWED} is needed, got {type(value).__name__}: {error}") from error
    if array.dtype.kind not in KINDS or (array.dtype.itemsize == 2 and array.dtype.kind == "f"):
        raise UserError(f"{where}: {ALLOWED} is needed, got {type(value).__name__} of {array.dtype}")
    if array.dtype.itemsize > 8 and array.dtype.kind != "U":
        raise UserError(f"{where}: numbers of at most 64 bits are needed, got {array.dtype}")
    return array if array.ndim else array.item()
