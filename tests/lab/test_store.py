"""Records are whole or not there: damaged ones are found, never counted, and removed on demand."""

import errno
import json
import os
import threading
import zlib

import numpy as np
import pytest

from tbptt_jax.errors import Stopped, UserError
from tbptt_jax.files import write_atomically
from tbptt_jax.records import leases
from tbptt_jax.records.leases import Leases
from tbptt_jax.records.record import LARGE, Record, canonical, digest, encode, line, storable
from tbptt_jax.records.store import Store
from tbptt_jax.records.upkeep import verified

A, B, ORIGIN = "a" * 20, "b" * 20, "o" * 24
NOTES = [{"device": "cpu"}]


def record(name=A, status="done", curve=True, value=0.25):
    row = {"bias": value, "name": "x"} | ({"path": np.arange(3.0)} if curve else {})
    return Record(name, ORIGIN, {"tau": 4}, status, "", [row, row], digest(canonical({"note": NOTES[0]})), 1.5)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "toy")
    store.require_writable()
    yield store
    store.close()


def shard(store):
    (path,) = store.cells.glob("*.jsonl")
    return path


def anew(store):
    return Store(store.cells.parent).refresh()


def same(one, other):
    plain = [{name: np.asarray(value).tolist() for name, value in row.items()} for row in one.rows]
    return plain == [{n: np.asarray(v).tolist() for n, v in row.items()} for row in other.rows] and one._replace(
        rows=[]
    ) == other._replace(rows=[])


def test_a_record_comes_back_as_it_went(store):
    large = np.random.default_rng(0).normal(size=LARGE // 8)
    store.add(record(), NOTES)
    store.add(record(B)._replace(rows=[{"large": large, "tiny": 1e-300, "none": None, "yes": True}]), NOTES)
    back = anew(store)
    assert same(back.read(A, ORIGIN), record()) and back.notes[record().environment] == NOTES[0]
    row = back.read(B, ORIGIN).rows[0]
    assert np.array_equal(row["large"], large) and (row["tiny"], row["none"], row["yes"]) == (1e-300, None, True)
    assert back.read("c" * 20, ORIGIN) is None and back.read(A, "other") is None and not back.damaged
    assert shard(store).stat().st_size < 3000 and len(list((store.cells / "arrays").iterdir())) == 1


def test_a_finished_record_is_never_replaced_and_a_failed_one_is(store):
    store.add(record(status="failed"), ())
    store.add(record(value=1.0), ())
    store.add(record(value=2.0), ())
    store.add(record(status="failed"), ())
    assert anew(store).read(A, ORIGIN).rows[0]["bias"] == 1.0


def test_any_byte_that_is_changed_is_found_and_no_other_record_is_lost(store):
    store.add(record(curve=False), NOTES)
    store.add(record(B), NOTES)
    path = shard(store)
    content = path.read_bytes()
    start = anew(store).places[B, ORIGIN].start
    for at in range(start, len(content) - 1, 3):
        for bit in (1, 64):
            path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
            found = anew(store)
            assert same(found.read(A, ORIGIN), record(curve=False))
            assert (B, ORIGIN) not in found.places and found.damaged, (at, bit)
    for at in range(start + 1, len(content)):
        path.write_bytes(content[:at])
        found = anew(store)
        assert same(found.read(A, ORIGIN), record(curve=False)) and (B, ORIGIN) not in found.places
        assert found.unfinished() == [path.name] and not found.damaged


def test_a_damaged_array_is_found_when_it_is_read(store):
    large = np.zeros(LARGE // 8)
    for name in (A, B):
        store.add(record(name)._replace(rows=[{"large": large + (name == B)}]), NOTES)
    first = anew(store).read(A, ORIGIN)
    assert first is not None
    (path, other) = sorted((store.cells / "arrays").iterdir())
    content = path.read_bytes()
    for damage in (b"", content[:-9], content[:-1] + b"\x01"):
        path.write_bytes(damage)
        found = anew(store)
        assert sum(found.read(name, ORIGIN) is None for name in (A, B)) == 1 and len(found.damaged) == 1
    path.unlink()
    both = [(A, ORIGIN), (B, ORIGIN)]
    assert len(list(anew(store).records(both, large=True))) == 1 and other.exists()
    names = {record.rows[0]["large_file"] for record in anew(store).records(both)}
    assert names == {path.name, other.name}  # a table need not hold them


BOMBS = {
    "nested without end": b"[" * 200_000,
    "no record": canonical({"record": 5}),
    "no JSON": b"\xff\xfe",
    "a record without a status": canonical({"record": {"identity": A, "origin": ORIGIN}}),
    "an array that is none": canonical(
        {"record": record()._asdict() | {"rows": [{}], "arrays": [[0, "x", "<f8", [1 << 40], "AAAA"]]}}
    ),
    "an object array": canonical(
        {"record": record()._asdict() | {"rows": [{}], "arrays": [[0, "x", "|O", [1], "AAAAAAAAAAA="]]}}
    ),
    "a row that is not there": canonical({"record": record()._asdict() | {"rows": [], "arrays": [[7, "x", "f.npy"]]}}),
    "a path": canonical({"record": record()._asdict() | {"rows": [{}], "arrays": [[0, "x", "../../../secret.npy"]]}}),
    "compressed": zlib.compress(b"0" * (1 << 22)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_has_a_valid_checksum_and_is_no_record_is_damaged_and_not_a_crash(store, name):
    (store.cells / "bomb.jsonl").write_bytes(line(BOMBS[name].replace(b"\n", b" ")))
    store.add(record(B), NOTES)
    found = anew(store)
    assert found.read(A, ORIGIN) is None and same(found.read(B, ORIGIN), record(B))
    assert len(found.damaged) == 1
    health = verified(store.cells.parent, repair=True)
    assert health.whole == 1 and len(health.trouble) == 1
    assert verified(store.cells.parent, repair=False).trouble == [] and list((store.cells / "damaged").iterdir())


@pytest.mark.parametrize("byte", [b"\r", b"\x0b", b"\x1c"])
def test_a_line_that_is_damaged_by_an_end_of_line_of_another_kind_is_removed_whole(store, byte):
    for name in (A, B):
        store.add(record(name), ())
    path = shard(store)
    content = path.read_bytes()
    path.write_bytes(content[:60] + byte + content[61:])
    assert len(verified(store.cells.parent, repair=True).trouble) == 1
    assert verified(store.cells.parent, repair=False) == ("toy", 1, [])


def test_nothing_is_repaired_while_a_runner_is_at_work(store):
    store.add(record(), ())
    (store.cells / "bomb.jsonl").write_bytes(b"no record\n")
    runner = Leases(store.cells)
    with pytest.raises(UserError, match=r"--repair: process .* is at work"):
        verified(store.cells.parent, repair=True)
    runner.close()
    assert len(verified(store.cells.parent, repair=True).trouble) == 1


def test_half_a_line_is_taken_back_when_the_disk_is_full(store, monkeypatch):
    store.add(record(), NOTES)
    write = os.write

    def full(handle, text):
        write(handle, text[:40])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Stopped, match="the disk is full; what was recorded before is kept"):
        store.add(record(B), NOTES)
    monkeypatch.undo()
    store.add(record(B), NOTES)
    found = anew(store)
    assert set(found.places) == {(A, ORIGIN), (B, ORIGIN)} and not found.damaged


def test_a_folder_that_vanishes_is_named(store):
    store.add(record(), NOTES)
    os.rename(store.cells, store.cells.with_name("away"))
    with pytest.raises(Stopped, match="the folder has vanished"):
        store.add(record(B), NOTES)


def test_files_are_written_whole_or_not_at_all_and_follow_no_link(tmp_path, monkeypatch):
    """A figure that is drawn anew is either the old or the new one, at whatever moment the process is killed."""
    target, victim = tmp_path / "figure.svg", tmp_path / "victim"
    target.write_text("old")
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    (tmp_path / ".figure.svg.guessed").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(target, b"new")
    assert victim.read_text() == "precious" and target.read_text() == "old"
    monkeypatch.undo()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, b"new")
    assert target.read_text() == "old"


def test_one_cell_has_one_runner_and_dead_ones_hold_nothing(tmp_path, monkeypatch):
    one, two, three = (Leases(tmp_path) for _ in range(3))
    assert one.take(A) and not two.take(A) and two.take(B)
    one.give_back(A)
    assert two.take(A)
    words = json.loads((two.runners / two.me).read_text()) | {"started": "long ago"}  # another process has its number
    (two.runners / two.me).write_text(json.dumps(words))
    won = []
    threads = [
        threading.Thread(target=lambda who=who: won.append(who.take(A))) for who in (one, three) for _ in range(1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, True]
    for who in (one, three):
        who.close()
    assert [path.name for path in one.folder.iterdir()] == [B]  # of the dead one, which nobody wanted
    assert Leases(tmp_path).take(B)


def test_a_runner_of_another_machine_is_dead_when_its_heart_has_stopped(tmp_path, monkeypatch):
    far, near = Leases(tmp_path), Leases(tmp_path)
    assert far.take(A)

    def beat(number):
        words = json.loads((far.runners / far.me).read_text()) | {"host": "elsewhere", "beat": number}
        (far.runners / far.me).write_text(json.dumps(words))

    now = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    for second in range(0, 200, 20):
        now[0] = float(second)
        beat(second)
        assert not near.take(A)  # it lives, whatever its clock says
    now[0] += leases.DEAD_AFTER - 1
    assert not near.take(A)
    now[0] += 2
    assert near.take(A)


def test_rows_are_kept_plain():
    import jax.numpy as jnp

    (row,) = storable([{"a": np.float32(0.5), "b": np.bool_(True), "c": [1, 2], "d": jnp.ones(2), "e": "t"}], {})
    assert (row["a"], row["b"], row["e"]) == (0.5, True, "t") and type(row["a"]) is float and type(row["b"]) is bool
    assert isinstance(row["c"], np.ndarray) and isinstance(row["d"], np.ndarray)
    assert storable([{"tau": 4, "x": 1}], {"tau": 4}) == [{"x": 1}]
    for rows, words in (
        ([{"tau": 5}], "'tau' is 4 in the cell's own columns"),
        ([{3: 1}], "the name of a column must be a text"),
        ([5], "a dict is needed, got int"),
        ([{"x": 1j}], "is needed, got complex"),
        ([{"x": [1, "a", None]}], "x: a number, a text, None, or an array"),
        ([{"x": np.float16(1)}], "of float16"),
        ([{"x": object()}], "got object"),
    ):
        with pytest.raises(UserError, match=words):
            storable(rows, {"tau": 4})


def test_a_line_is_readable_by_eye(store):
    text, _ = encode(record(curve=False))
    checksum, _, body = text.partition(b" ")
    assert digest(body[:-1]).encode() == checksum
    assert json.loads(body)["record"]["rows"][0] == {"bias": 0.25, "name": "x"}
