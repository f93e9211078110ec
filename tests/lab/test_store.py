"""Records are whole or not there: damaged ones are found, set aside, and never counted."""

import errno
import json
import os

import numpy as np
import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.lab.store import Record, Store, table, write_table


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "toy")
    store.require_writable()
    return store


def record(name="a" * 20, status="done", curve=True):
    row = {"bias": 0.25, "name": "x"} | ({"path": np.arange(3.0)} if curve else {})
    return Record(name, {"tau": 4}, status, "", [row, row], {"run": "r"}, 1.5)


def test_a_record_comes_back_as_it_went(store):
    store.write(record())
    back = store.read("a" * 20)
    assert back._replace(rows=[]) == record()._replace(rows=[])
    assert back.rows[1]["bias"] == 0.25 and np.array_equal(back.rows[1]["path"], np.arange(3.0))
    assert store.read("b" * 20) is None and not store.damaged()
    assert [path.name for path in store.cells.iterdir() if path.name.startswith(".")] == []


def flip_a_byte(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("ending", ["json", "npz"])
@pytest.mark.parametrize(
    "damage", [lambda c: b"", lambda c: c[:-7], flip_a_byte], ids=["emptied", "truncated", "flipped"]
)
def test_a_damaged_record_is_set_aside(store, ending, damage):
    store.write(record())
    store.write(record("b" * 20))
    path = store.cells / f"{'a' * 20}.{ending}"
    path.write_bytes(damage(path.read_bytes()))
    assert [r.identity for r in store.records()] == ["b" * 20]
    assert store.damaged() == ["a" * 20] and not path.exists()
    store.write(record())
    assert len(store.records()) == 2


def test_a_flipped_byte_anywhere_is_found(store):
    store.write(record(curve=False))
    path = store.cells / f"{'a' * 20}.json"
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        found = store.read("a" * 20)
        assert found is None or found == record(curve=False), at
        path.write_bytes(content)


def test_curves_that_are_missing_are_damage(store):
    store.write(record())
    (store.cells / f"{'a' * 20}.npz").unlink()
    assert store.read("a" * 20) is None and store.damaged() == ["a" * 20]


def test_a_full_disk_is_loud_and_leaves_earlier_records_alone(store, monkeypatch):
    store.write(record())

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(record("b" * 20))
    monkeypatch.undo()
    assert [r.identity for r in store.records()] == ["a" * 20]
    assert not any(path.name.startswith(".") for path in store.cells.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--results: cannot write to"):
        Store(tmp_path / "file").require_writable()


def test_one_cell_has_one_runner(store):
    with store.claim("c" * 20) as mine, store.claim("c" * 20) as other:
        assert mine and not other
    with store.claim("c" * 20) as again:
        assert again


def test_the_table_has_finished_cells_only_and_load_results_finds_it(store, tmp_path):
    store.write(record())
    store.write(record("b" * 20, "diverged"))
    assert table(store.records()).height == 2
    assert tb.load_results("toy", tmp_path)["tau"].to_list() == [4, 4]
    committed = tmp_path / "other"
    committed.mkdir()
    write_table(pl.DataFrame({"tau": [4], "bias": [1e-300], "curve": [[0.5, 0.25]]}), committed)
    back = tb.load_results("other", tmp_path)
    assert back["bias"].to_list() == [1e-300] and back["curve"].to_list() == [[0.5, 0.25]]
    with pytest.raises(ValueError, match="there are none of 'nothing'"):
        tb.load_results("nothing", tmp_path)


def test_a_record_is_readable_by_eye(store):
    store.write(record(curve=False))
    outer = json.loads((store.cells / f"{'a' * 20}.json").read_text())
    assert set(outer) == {"checksum", "record"}
    assert json.loads(outer["record"])["environment"] == {"run": "r"}
