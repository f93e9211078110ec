"""What a result is: a record counts only where what decided its numbers is as it was."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.experiments import load
from tbptt_jax.lab.code import code_of, file_of, only_code, parsed
from tbptt_jax.lab.origin import differences
from tests.lab.command import TOY, finish, measured, rows, tbptt
from tests.tiers import thorough

SMOKE = ("--scale", "smoke")


def code(files):
    parsed.cache_clear()
    return code_of(files)


def test_code_is_what_a_file_and_its_neighbours_compute(tmp_path):
    mine, neighbour, unused = (tmp_path / f"{name}.py" for name in ("mine", "neighbour", "unused"))
    mine.write_text("from neighbour import K\nimport numpy\n\ndef f(x):\n    return x + K\n")
    neighbour.write_text("K = 1\n")
    unused.write_text("K = 2\n")
    before = code([mine])
    assert set(before) == {"mine.py", "neighbour.py"}
    mine.write_text(
        '"""What it is."""\nfrom neighbour import K  # a number\nimport numpy\n\n\ndef f(x):\n    """It adds."""\n'
        "    # so it does\n    return x + K\n"
    )
    unused.write_text("K = 3\n")
    after = code([mine])
    assert after["neighbour.py"] == before["neighbour.py"]
    assert only_code('"""A."""\nx = "# no comment"\n', __import__("ast").parse('"""A."""\nx = "# no comment"\n')) == (
        '...\nx = "# no comment"'
    )
    neighbour.write_text("K = 4\n")
    changed = code([mine])
    assert changed["neighbour.py"] != before["neighbour.py"] and changed["mine.py"] == after["mine.py"]
    mine.write_text(mine.read_text().replace("x + K", "x - K"))
    assert code([mine])["mine.py"] != after["mine.py"]


def test_what_the_lab_computes_for_an_experiment_is_its_code_too():
    """Networks with dropout, and parameters that are learned online."""
    for name, part in {"time_machine": "masked", "lorenz_fit": "online", "copy": "learning"}.items():
        assert f"tbptt_jax/lab/{part}.py" in code_of([file_of(load(name).measure)]), name


def test_an_experiment_depends_on_what_it_uses_and_on_nothing_else():
    found = set(code_of([file_of(load("copy").measure)]))
    assert {"experiments/copy/measure.py", "tbptt_jax/training/loop.py", "tbptt_jax/gradients/cuts/engine.py"} <= found
    assert {"tbptt_jax/lab/learning.py", "tbptt_jax/lab/protocol.py", "tbptt_jax/tasks/base.py"} <= found
    others = (
        "claims",
        "figures",
        "lab/grid",
        "records",
        "running",
        "cli",
        "estimators/randomized",
        "tasks/copy",
        "uoro",
    )
    assert not [name for name in found for other in others if other in name]


def test_docstrings_and_comments_are_no_code(tmp_path):
    text = Path(tb.Segment.__module__.replace(".", "/") + ".py")
    path = Path(sys.modules[tb.Segment.__module__].__file__)
    copy = tmp_path / "segment.py"
    assert text.name == path.name
    copy.write_text(path.read_text())
    before = parsed(copy).digest
    other = tmp_path / "other.py"
    lines = path.read_text().replace('"""', '"""Another word. ', 1).splitlines()
    other.write_text("# a comment\n\n" + "\n".join(lines) + "\n\n# the end\n")
    assert parsed(other).digest == before


@pytest.fixture
def copied(tmp_path):
    """The toy with a neighbour, and an estimator in a file."""
    text = TOY.read_text().replace("import ctypes", "import ctypes\nfrom beside import SCALE", 1)
    text = text.replace("normal()", "normal() * SCALE")
    (tmp_path / "my_toy.py").write_text(text)
    (tmp_path / "beside.py").write_text("SCALE = 1.0\n")
    return tmp_path / "my_toy.py"


@thorough
def test_an_edited_neighbour_makes_records_stale_and_the_old_code_finds_them_again(copied, tmp_path, capfd):
    log = tmp_path / "log"
    code, output = finish(*SMOKE, results=tmp_path, toy=copied, log=log)
    assert code == 0, output
    before = rows(tmp_path)
    (tmp_path / "beside.py").write_text("SCALE = 100.0\n")
    code, status = tbptt(capfd, "status", copied, *SMOKE, results=tmp_path)
    assert "12 stale" in status and "stale: 12 cells: code: beside.py changed" in status, status
    code, output = finish(*SMOKE, results=tmp_path, toy=copied, log=log)
    assert "stale: 12 cells" in output and "12 done" in output and len(measured(log)) == 24
    assert rows(tmp_path)["value"].to_list() == [100 * value for value in before["value"]]
    (tmp_path / "beside.py").write_text("SCALE = 1.0  # as before\n")
    code, output = finish(*SMOKE, results=tmp_path, toy=copied, log=log)
    assert "12 done" in output and len(measured(log)) == 24 and rows(tmp_path).equals(before)


@thorough
def test_other_precision_and_other_devices_are_other_records(tmp_path):
    log = tmp_path / "log"
    for count, (words, environment) in enumerate([((), {}), (("--devices", "2"), {"JAX_ENABLE_X64": "0"})], start=1):
        code, output = finish(*SMOKE, "--set", "x=1", *words, results=tmp_path, log=log, **environment)
        assert code == 0 and len(measured(log)) == count, output
    done = subprocess.run(
        [sys.executable, "-m", "tbptt_jax.cli", "status", str(TOY), *SMOKE, "--set", "x=1", "--results", str(tmp_path)],
        env=os.environ | {"JAX_ENABLE_X64": "0"},
        capture_output=True,
        text=True,
    )
    assert re.search("1 cells: (devices: 2 cpu, now 1|precision: float64, now float32)", done.stdout), done.stdout


def test_differences_are_said_in_words():
    then = {"code": {"a.py": "1", "b.py": "1", "c.py": "1", "d.py": "1"}, "data": {}, "precision": "float32"}
    now = {"code": {"a.py": "2", "b.py": "2", "c.py": "2"}, "data": {"t": "1"}, "precision": "float64"}
    assert differences(then, now) == [
        "code: a.py, b.py and 2 more changed",
        "data: t changed",
        "precision: float32, now float64",
    ]
    assert differences(then, then) == []


@thorough
def test_the_contents_of_data_decide(tmp_path, capfd):
    """Another text under the same name is another result; a checkpoint of the old one is not gone on from."""
    text = tmp_path / "text.txt"
    words = ["--task", f"text(path='{text}')", "--estimator", "full()", "--seeds", "1", "--set", "cell=tanh"]
    words += ["--set", "symbols=1536", "--set", "hidden=2", "--set", "batch=2", "--set", "order=sequential"]
    losses = []
    for content in ("to be or not to be that is the question ", "the time machine by h g wells "):
        text.write_text(content * 400)
        code, output = tbptt(capfd, "run", "time_machine", *SMOKE, *words, results=tmp_path)
        assert code == 0 and "stale" not in output if not losses else "stale: 1 cells" in output, output
        losses.append(pl.read_parquet(tmp_path / "time_machine" / "chosen" / "table.parquet")["report"].to_list())
    assert losses[0] != losses[1]


def test_one_grid_one_version_one_place(tmp_path, capfd):
    """A smoke run touches nothing of the default run's, and what is loaded is one of the two."""
    assert tbptt(capfd, "run", TOY, "--debug", results=tmp_path)[0] == 0
    folder = tmp_path / "toy"
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert tbptt(capfd, "run", TOY, "--debug", *SMOKE, results=tmp_path)[0] == 0
    assert tbptt(capfd, "run", TOY, "--debug", "--set", "x=100", results=tmp_path)[0] == 0
    assert kept == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert (rows(tmp_path, ".").height, rows(tmp_path).height, rows(tmp_path, "chosen").height) == (14, 12, 1)
    assert tb.load_results("toy", tmp_path).height == 14
    assert tb.load_results("toy", tmp_path, scale="smoke").height == 12
    assert tb.load_results(str(TOY), tmp_path, settings=["x=100"]).height == 1
    for words, height in ((SMOKE, 12), (("--scale", "default"), 14), ((), 1)):  # the last: the latest that was run
        code, said = tbptt(capfd, "export", TOY, *words, "--output", tmp_path / "t.csv", results=tmp_path)
        assert code == 0 and f"{height} rows" in said and pl.read_csv(tmp_path / "t.csv").height == height
        assert "without curve, which such a file cannot hold; .parquet can" in said
    assert "without" not in tbptt(capfd, "export", TOY, "--output", tmp_path / "t.parquet", results=tmp_path)[1]
    assert pl.read_parquet(tmp_path / "t.parquet")["curve"][0].len() == 3
    assert "toy, scale default with x=100: 1 of 1 cells" in tbptt(capfd, "claims", TOY, results=tmp_path)[1]


def test_a_committed_table_is_resumed_from_and_read_without_cells(tmp_path, capfd):
    here, there = tmp_path / "here", tmp_path / "there"
    assert tbptt(capfd, "run", TOY, "--debug", *SMOKE, "--set", "x=0,1,2", results=here)[0] == 0
    place = there / "toy" / "smoke"
    place.mkdir(parents=True)
    shutil.copy(here / "toy" / "chosen" / "table.parquet", place)
    output = tbptt(capfd, "run", TOY, "--debug", *SMOKE, results=there)[1]
    assert "taken over from the committed table: 3 cells" in output and output.count("done      x=") == 9, output
    assert tbptt(capfd, "run", TOY, "--debug", *SMOKE, results=here)[0] == 0
    assert rows(there).equals(rows(here)) and rows(there).schema == rows(here).schema
    shutil.rmtree(there / "toy" / "cells")
    said = tbptt(capfd, "claims", TOY, *SMOKE, results=there)[1]
    assert "the committed table, 12 of 12 cells" in said and "reproduced" in said
    assert tb.load_results(str(TOY), there, scale="smoke").equals(rows(here))


@thorough
def test_what_two_machines_measured_is_merged(tmp_path, capfd):
    for folder, x in (("one", "0,1,2,3,4,5"), ("two", "4,5,6,7,8,9,10,11")):
        assert tbptt(capfd, "run", TOY, *SMOKE, "--set", f"x={x}", results=tmp_path / folder)[0] == 0
    shutil.rmtree(tmp_path / "two" / "toy" / "cells")  # of this one, only what was committed is left
    code, said = tbptt(capfd, "merge", tmp_path / "one", tmp_path / "two", results=tmp_path / "all")
    assert code == 0 and "toy: 6 cells are new" in said, said
    code, said = tbptt(capfd, "merge", tmp_path / "one", tmp_path / "two", results=tmp_path / "all")
    assert "toy: 0 cells are new" in said
    code, output = tbptt(capfd, "run", TOY, *SMOKE, results=tmp_path / "all")
    assert "12 done" in output and "done      x=" not in output
    assert tbptt(capfd, "verify", results=tmp_path / "all")[1].startswith("toy: ")
    assert tbptt(capfd, "merge", tmp_path / "all", results=tmp_path / "all")[0] == 2


def test_damage_is_reported_measured_again_and_removed(tmp_path, capfd):
    run = ("run", "--debug", TOY, *SMOKE)
    tbptt(capfd, *run, results=tmp_path)
    (shard,) = (tmp_path / "toy" / "cells").glob("*.jsonl")
    (tmp_path / "toy" / "smoke" / "table.parquet").unlink()
    content = shard.read_bytes()
    shard.write_bytes(content[:-400] + b"#" + content[-399:])
    code, said = tbptt(capfd, "verify", results=tmp_path)
    assert code == 1 and "toy: 11 records are whole, 1 are damaged" in said and shard.name in said
    code, output = tbptt(capfd, *run, results=tmp_path)
    assert code == 0 and "damaged: 1 records" in output and output.count("done      x=") == 1
    assert tbptt(capfd, "verify", "toy", "--repair", results=tmp_path)[0] == 0
    assert tbptt(capfd, "verify", results=tmp_path) == (0, "toy: 24 records are whole, 0 are damaged\n")


def test_status_says_what_runs_and_for_how_long(tmp_path, capfd):
    from tbptt_jax.records.leases import Leases

    tbptt(capfd, "run", TOY, *SMOKE, "--set", "x=1,2", "--set", "kind=raises", results=tmp_path)
    runner = Leases(tmp_path / "toy" / "cells")
    runner._beaten = -100.0
    runner.beat({"x=9": 75.2}, {"done": 3, "failed": 1}, 300.0)
    status = tbptt(capfd, "status", TOY, results=tmp_path)[1]
    assert f"at work: process {os.getpid()} on" in status and "for 75 s: x=9" in status
    assert "4 cells settled, about 5 min left" in status
    runner.close()
    assert "1 done, 1 failed" in status
    claims = tbptt(capfd, "claims", TOY, results=tmp_path)[1]
    assert "undecided" in claims and "1 rows" in claims
    assert tbptt(capfd, "export", TOY, "--output", "a.xls", results=tmp_path)[0] == 2
    where = json.loads((tmp_path / "toy" / "chosen" / "provenance.json").read_text())
    assert where["asked"] == "scale smoke with x=1,2, kind=raises" and where["measured"][0]["scale"] == "smoke"
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy"} <= set(where["measured"][0])


def test_a_partial_is_the_code_of_its_function_and_its_arguments():
    from functools import partial

    from tbptt_jax.lab.origin import code as of_deciders

    measure = load("copy").measure
    plain, two, three = (of_deciders((one,)) for one in (measure, partial(measure, 2), partial(measure, 3)))
    assert {name: two[name] for name in plain} == plain and set(two) - set(plain) == {"<arguments>"}
    assert two["<arguments>"] != three["<arguments>"]
