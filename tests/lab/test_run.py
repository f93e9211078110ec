"""Running, stopping and going on, with real processes: nothing lost, nothing wrong, nothing computed twice."""

import os
import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from tbptt_jax.records.cell import Cell
from tbptt_jax.records.leases import Leases
from tbptt_jax.records.record import Record
from tbptt_jax.records.store import Store
from tbptt_jax.running.loop import run
from tbptt_jax.running.processes import Processes
from tests.lab.command import TOY, finish, measured, rows, start, tbptt, wait_for
from tests.tiers import thorough

SMOKE = ("--scale", "smoke")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of a run that nothing disturbed."""
    results = tmp_path_factory.mktemp("whole")
    code, output = finish(*SMOKE, results=results)
    assert code == 0 and "12 done" in output and "reproduced" in output, output
    return rows(results)


@thorough
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_moments_nothing_is_lost_or_computed_twice(tmp_path, whole, times):
    """At most one cell is in flight at each kill, and one is recorded and not yet noticed; others are measured once."""
    log, moments = tmp_path / "log", random.Random(0)
    words = (*SMOKE, "--set", "pause=0.05")
    kills = 0
    for _ in range(times):
        seen = len(measured(log))
        process = start(*words, results=tmp_path, log=log)
        wait_for(lambda p=process, seen=seen: len(measured(log)) > seen or p.poll() is not None)
        time.sleep(moments.uniform(0, 0.08))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, output = finish(*words, results=tmp_path, log=log)
    assert code == 0 and "12 done" in output, output
    counts = measured(log)
    assert set(counts) == set(range(12)) and len(counts) <= 12 + kills
    assert rows(tmp_path, "chosen").drop("pause").equals(whole.drop("pause"))  # bitwise
    assert finish(*words, results=tmp_path, log=log)[0] == 0
    assert measured(log) == counts  # finished: nothing is computed again


@pytest.mark.soak
def test_the_supervisor_takes_its_processes_with_it(tmp_path):
    """Whatever way the supervisor ends, and whatever its process is at."""
    log = tmp_path / "log"
    words = (*SMOKE, "--set", "x=1", "--set", "kind=holds the lock")
    process = start(*words, results=tmp_path, log=log)
    wait_for(lambda: measured(log))
    (child,) = children(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(child), 10)


def children(pid):
    return [int(word) for word in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@thorough
def test_two_runners_in_one_folder_share_the_work_and_each_failure(tmp_path):
    """A cell that fails is measured once, though both runners find it failed."""
    log = tmp_path / "log"
    order = "x=0,2,3,4,5,6,7,8,9,10,11,1"  # the one that fails last, when both have begun
    words = (*SMOKE, "--set", "pause=0.1", "--set", "kind=raises", "--set", order)
    runners = [start(*words, results=tmp_path, log=log) for _ in range(2)]
    for runner in runners:
        output, _ = runner.communicate(timeout=120)
        assert runner.returncode == 1 and "11 done, 1 failed" in output, output
    assert sorted(measured(log)) == list(range(12))
    assert not list((tmp_path / "toy" / "cells" / "leases").iterdir())
    assert not list((tmp_path / "toy" / "cells" / "runners").iterdir())


def test_a_cell_that_another_runner_recorded_this_moment_is_not_measured(tmp_path, monkeypatch):
    """Between this runner's look at the records and its lease, the other one finishes the cell and lets it go."""
    cell = Cell("a" * 20, "o" * 24, {"x": 1}, {"x": 1})
    mine, other = Store(tmp_path), Store(tmp_path)
    mine.require_writable()
    take = Leases.take

    def late(self, name):
        other.add(Record(cell.identity, cell.origin, cell.columns, "done", "", [], "e", 0.0), ())
        return take(self, name)

    class Nobody(Processes):
        def give(self, cell):
            raise AssertionError("it is measured again")

    monkeypatch.setattr(Leases, "take", late)
    assert run([cell], mine, Nobody("toy", 1, tmp_path)) == {"done": 1}


def test_jobs_and_resuming_give_the_same_table(tmp_path, whole, capfd):
    code, output = tbptt(capfd, "run", TOY, *SMOKE, "--debug", "--set", "x=3,5,7", results=tmp_path)
    assert code == 0 and "3 done" in output, output
    code, output = tbptt(capfd, "run", TOY, *SMOKE, "--jobs", 2, results=tmp_path)
    assert code == 0 and "12 done" in output and output.count("done      x=") == 9, output
    assert rows(tmp_path).equals(whole) and rows(tmp_path).columns == whole.columns
    assert rows(tmp_path)["tiny"].drop_nulls().to_list() == [1e-300]
    assert rows(tmp_path).schema["even"] == pl.Boolean and rows(tmp_path).schema["curve"] == pl.List(pl.Float64)


@thorough
def test_an_interrupt_says_how_to_go_on(tmp_path):
    log = tmp_path / "log"
    words = (*SMOKE, "--set", "pause=0.2")
    process = start(*words, results=tmp_path, log=log)
    wait_for(lambda: len(measured(log)) >= 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in output and "Traceback" not in output, output
    assert finish(*words, results=tmp_path, log=log)[0] == 0
    assert len(measured(log)) <= 13


def test_whoever_reads_the_output_may_go_away(tmp_path):
    line = [sys.executable, "-m", "tbptt_jax.cli", "status", str(TOY), "--results", str(tmp_path)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 141 and done.stderr == ""


def test_the_supervisor_does_not_import_jax():
    code = (
        "import sys, tbptt_jax.cli, tbptt_jax.running.command, tbptt_jax.running.cluster; print('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--set", "y=3"], "axis: unknown name 'y'"),
        (["--set", "x=many"], "axis x: int is needed, got 'many'"),
        (["--timeout", "-1"], "--timeout: a number above 0"),
        (["--memory", "lots"], "--memory: a size such as 4G"),
        (["--devices", "0"], "--devices: a number above 0"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "--scheduler, --jobs: give one"),
        (["--slurm", "partition"], 'words like "partition=gpu,cores=4"'),
    ],
)
def test_bad_words_are_refused_before_anything_runs(tmp_path, capfd, words, said):
    code, output = tbptt(capfd, "run", TOY, *words, results=tmp_path)
    assert code == 2 and said in output and "Traceback" not in output
    assert not list(tmp_path.glob("*/cells/*.jsonl"))


def test_a_file_may_hold_the_words_and_the_command_line_wins(tmp_path, capfd):
    words = tmp_path / "words.toml"
    words.write_text('scale = "smoke"\ntimeout = 60\nmemory = "4G"\n[set]\nx = [1, 2, 3]\nkind = "diverges"\n')
    line = ("run", TOY, "--config", words)
    code, output = tbptt(capfd, *line, results=tmp_path)
    assert code == 1 and "2 done, 1 diverged" in output and "value is not finite" in output
    code, output = tbptt(capfd, *line, "--debug", "--set", "kind=fine", "--set", "x=4,5", results=tmp_path)
    assert code == 0 and "2 done" in output
    for text, said in (
        ("jbos = 2", "Did you mean jobs"),
        ("seeds = 'x'", "seeds must be of type int"),
        ("=", "cannot be read"),
    ):
        words.write_text(text)
        code, output = tbptt(capfd, *line, results=tmp_path)
        assert code == 2 and said in output


@thorough
def test_a_file_of_the_working_folder_hides_no_module(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("copy", "random", "typing"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the file beside, not the module')")
    code, said = tbptt(capfd, "run", TOY, "--scale", "smoke", results=tmp_path)
    assert code == 0, said
