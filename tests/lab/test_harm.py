"""What a cell does to its process is recorded as that cell's, with its cause; the others are measured all the same."""

import errno
import os
from pathlib import Path

import pytest

from tbptt_jax.running.processes import surroundings
from tests.lab.command import TOY, finish, tbptt, wait_for
from tests.tiers import thorough

CAUSES = {
    "raises": "RuntimeError: this cell always fails [bold]and says so[/bold] (toy.py:",
    "segfault": "its process was killed by SIGSEGV",
    "killed": "its process was killed by SIGKILL, as when memory runs out",
    "leaves": "its process ended by itself, with exit code 0",
    "exits": "SystemExit: 0",
    "decimal": "UserError: measure: row 0, value: a number, a text, None, or an array",
    "generator": "UserError: measure: a list of rows is needed, got generator",
    "bfloat16": "array of booleans, whole numbers, floats or texts is needed, got ArrayImpl of bfloat16",
    "an axis": "UserError: measure: row 0: 'pause' is 0 in the cell's own columns",
    "huge": "UserError: measure: row 0, value: 100000000000… does not fit into 64 bits; make it a float",
}


def test_each_failure_has_its_cause_and_the_others_go_on(tmp_path, capfd):
    axes = ("--set", "x=1,2", "--set", "kind=" + ",".join(CAUSES))
    code, output = tbptt(capfd, "run", TOY, "--scale", "smoke", *axes, results=tmp_path)
    assert code == 1 and f"{len(CAUSES)} done, {len(CAUSES)} failed" in output, output
    lines = [line for line in output.splitlines() if "failed" in line and "x=" in line]
    for kind, cause in CAUSES.items():
        (line,) = (line for line in lines if f"kind={kind}  " in line or f"kind={kind}, " in line)
        assert "x=1" in line and cause in line, line
    code, status = tbptt(capfd, "status", TOY, results=tmp_path)
    assert f"{len(CAUSES)} done, {len(CAUSES)} failed" in status
    assert all(cause in status for cause in CAUSES.values()), status
    logs = [Path(line.partition("it said: ")[2]) for line in status.splitlines() if "it said: " in line]
    assert any("Traceback" in log.read_text() and "this cell always fails" in log.read_text() for log in logs)


@thorough
def test_limits_end_a_cell_and_all_that_it_started(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    axes = ("--set", "x=1,2", "--set", "kind=never ends,holds the lock,has children,eats")
    limits = ("--timeout", 3, "--memory", "450M", "--jobs", 2)
    code, output = tbptt(capfd, "run", TOY, "--scale", "smoke", *axes, *limits, results=tmp_path)
    assert code == 1 and "4 done, 4 failed" in output, output
    assert output.count("did not end within 3 s (--timeout)") == 3
    assert output.count("took more than 0.439 GiB of memory (--memory)") == 1
    child = int((tmp_path / "log.child").read_text())
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text(), 5)
    said = [path.read_text() for path in (tmp_path / "toy" / "cells" / "logs").iterdir()]
    assert any("a last word" in text for text in said)


@thorough
def test_fail_fast_stops_at_the_first_and_debug_lets_it_through(tmp_path, capfd):
    code, output = tbptt(
        capfd, "run", TOY, "--scale", "smoke", "--set", "kind=raises", "--fail-fast", results=tmp_path / "fast"
    )
    assert code == 1 and "1 done, 1 failed" in output
    with pytest.raises(RuntimeError, match="this cell always fails"):
        tbptt(capfd, "run", TOY, "--scale", "smoke", "--set", "kind=raises", "--debug", results=tmp_path / "debug")


def test_a_process_that_cannot_start_ends_the_run(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import os\nos._exit(7)\n")
    code, output = finish(results=tmp_path, toy=broken)
    assert code == 3 and "the process that reads the experiment died" in output and "Traceback" not in output


@thorough
@pytest.mark.parametrize(
    "number, words",
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "it cannot be written to any more"), (errno.EIO, "error")],
)
def test_a_disk_that_fails_stops_the_run_and_keeps_what_is_done(tmp_path, capfd, monkeypatch, number, words):
    """After 5 cells nothing can be written any more; when it can, the same command goes on."""
    write, left = os.write, [8]  # three notes, and cells

    def failing(handle, text):
        if b'"record"' in text[:60] or b'"note"' in text[:60]:
            left[0] -= 1
            if left[0] < 0:
                write(handle, text[: len(text) // 2])  # as a full disk does
                raise OSError(number, os.strerror(number))
        return write(handle, text)

    line = ("run", TOY, "--scale", "smoke")
    monkeypatch.setattr(os, "write", failing)
    code, output = tbptt(capfd, *line, results=tmp_path)
    assert code == 3 and words in output and "the same command goes on" in output and "Traceback" not in output, output
    monkeypatch.undo()
    code, output = tbptt(capfd, *line, results=tmp_path)
    assert code == 0 and "12 done" in output and 0 < output.count("done      x=") < 12, output
    assert tbptt(capfd, "verify", results=tmp_path)[0] == 0


def test_a_folder_that_vanishes_or_cannot_be_written_is_named(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    code, output = tbptt(capfd, "run", TOY, results=tmp_path / "file")
    assert code == 2 and "--results: cannot write to" in output


@thorough
def test_another_users_records_are_named(tmp_path, capfd, monkeypatch):
    """Root may read everything, so the refusal is feigned."""
    tbptt(capfd, "run", TOY, "--scale", "smoke", "--set", "x=1", results=tmp_path)
    (shard,) = (tmp_path / "toy" / "cells").glob("*.jsonl")
    real = open

    def refusing(path, *words, **more):
        if str(path) == str(shard):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *words, **more)

    monkeypatch.setattr("builtins.open", refusing)
    code, output = tbptt(capfd, "run", TOY, "--scale", "smoke", results=tmp_path)
    assert code == 3 and f"{shard.name} belongs to another user" in output and "Traceback" not in output


def test_every_process_has_a_gpu_of_its_own_or_its_share_of_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    assert [surroundings(i, 2, None) for i in range(2)] == [
        {"CUDA_VISIBLE_DEVICES": "3"},
        {"CUDA_VISIBLE_DEVICES": "5"},
    ]
    shared = [surroundings(i, 4, None) for i in range(4)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in shared] == ["3", "5", "3", "5"]
    assert {one["XLA_PYTHON_CLIENT_MEM_FRACTION"] for one in shared} == {"0.450"}
    assert surroundings(0, 1, 2) == {"JAX_NUM_CPU_DEVICES": "2"}  # one process alone has all GPUs
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert surroundings(1, 2, None) == {}


@thorough
def test_a_half_finished_cell_is_gone_on_from_after_a_failure_and_with_other_devices(tmp_path, capfd):
    """What it kept is there until it is done, and is not that of other code."""
    (tmp_path / "half.py").write_text(HALF)
    line = ("run", tmp_path / "half.py")
    said = [tbptt(capfd, *line, *words, results=tmp_path)[1] for words in ((), ("--devices", 2), ("--devices", 2))]
    assert "RuntimeError: half way 1" in said[0] and "RuntimeError: half way 2" in said[1] and "1 done" in said[2]
    assert not list((tmp_path / "half" / "cells" / "scratch").iterdir())


HALF = """
import tbptt_jax as tb

def measure(config, key):
    path = tb.lab.checkpoint("count")
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(count))
    if count < 3:
        raise RuntimeError(f"half way {count}")
    return [{"count": count}]

experiment = tb.lab.Experiment("half", "nowhere", {"default": {"x": 1}}, measure)
"""


def test_figures_stay_in_their_folder(tmp_path):
    from matplotlib.figure import Figure

    from tbptt_jax.plots.style import save

    for name in ("../outside", "/tmp/outside", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="a file's in this very folder"):
            save(lambda name=name: {name: Figure()}, tmp_path / "figures")
