"""Running, stopping and going on, with real processes: nothing lost, nothing wrong, nothing computed twice."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tbptt_jax.errors import UserError
from tbptt_jax.lab import cluster

TOY = Path(__file__).with_name("toy.py")


def command(results, *words):
    return [
        sys.executable,
        "-m",
        "tbptt_jax.cli",
        "run",
        str(TOY),
        "--scale",
        "smoke",
        "--results",
        str(results),
        *words,
    ]


def start(results, *words, log=None):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | ({"TOY_LOG": str(log)} if log else {})
    return subprocess.Popen(
        command(results, *words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(results, *words, log=None):
    process = start(results, *words, log=log)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def rows(results):
    return pl.read_parquet(results / "toy" / "table.parquet")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    results = tmp_path_factory.mktemp("whole")
    code, output = finish(results)
    assert code == 0, output
    assert "12 done" in output and "reproduced" in output
    return rows(results)


def measured(log):
    return [int(line) for line in log.read_text().split()]


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_moments_nothing_is_lost_or_computed_twice(tmp_path, uninterrupted, times):
    """At most one cell is in flight at each kill; all others are measured exactly once."""
    log, moments = tmp_path / "log", random.Random(0)
    log.touch()
    kills = 0
    for _ in range(times):
        process = start(tmp_path, "--set", "pause=0.05", log=log)
        seen, deadline = len(measured(log)), time.monotonic() + 30
        while len(measured(log)) == seen and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)  # until it is at work
        time.sleep(moments.uniform(0, 0.08))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, output = finish(tmp_path, "--set", "pause=0.05", log=log)
    assert code == 0 and "12 done" in output
    counts = measured(log)
    assert set(counts) == set(range(12)) and len(counts) <= 12 + kills
    assert rows(tmp_path).drop("pause").equals(uninterrupted.drop("pause"))  # bitwise
    assert len(counts) == len(measured(log)) and finish(tmp_path, "--set", "pause=0.05", log=log)[0] == 0
    assert measured(log) == counts  # finished: nothing is computed again


def test_two_runners_in_one_folder_share_the_work(tmp_path, uninterrupted):
    log = tmp_path / "log"
    runners = [start(tmp_path, "--set", "pause=0.1", log=log) for _ in range(2)]
    for runner in runners:
        output, _ = runner.communicate(timeout=120)
        assert runner.returncode == 0, output
    assert sorted(measured(log)) == list(range(12))


def test_damaged_records_are_reported_and_computed_again(tmp_path, uninterrupted):
    log = tmp_path / "log"
    finish(tmp_path, log=log)
    victims = sorted((tmp_path / "toy" / "cells").glob("*.json"))[:2]
    victims[0].write_bytes(b"")
    victims[1].write_bytes(victims[1].read_bytes()[:-30])
    code, output = finish(tmp_path, log=log)
    assert code == 0 and len(measured(log)) == 14 and rows(tmp_path).equals(uninterrupted)
    assert all(victim.stem in output for victim in victims) and "set aside as damaged" in output


def test_a_cell_that_raises_or_diverges_is_recorded_and_the_others_go_on(tmp_path):
    code, output = finish(tmp_path / "raises", "--set", "kind=raises")
    assert code == 1 and "11 done, 1 failed" in output and "RuntimeError: this cell always fails (toy.py:" in output
    code, output = finish(tmp_path / "diverges", "--set", "kind=diverges")
    assert code == 1 and "11 done, 1 diverged" in output and "value is not finite" in output
    code, output = finish(tmp_path / "fast", "--set", "kind=raises", "--fail-fast")
    assert code == 1 and "1 done, 1 failed" in output
    done = subprocess.run(
        [*command(tmp_path / "debug", "--set", "kind=raises"), "--debug"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "RuntimeError: this cell always fails" in done.stderr and "Traceback" in done.stderr


def test_a_cell_that_never_ends_is_given_up(tmp_path):
    code, output = finish(tmp_path, "--set", "kind=never ends", "--timeout", "2")
    assert code == 1 and "11 done, 1 failed" in output and "did not end within 2 s" in output


def test_an_interrupt_says_how_to_go_on(tmp_path):
    log = tmp_path / "log"
    log.touch()
    process = start(tmp_path, "--set", "pause=0.2", log=log)
    while len(measured(log)) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in output and "Traceback" not in output
    assert finish(tmp_path, "--set", "pause=0.2", log=log)[0] == 0
    assert len(measured(log)) <= 13


def test_worker_processes_give_the_same_table_and_survive_a_death(tmp_path, uninterrupted):
    log = tmp_path / "log"
    code, output = finish(tmp_path, "--jobs", "2", "--set", "kind=dies", log=log)
    assert code == 0 and "12 done" in output, output
    assert (tmp_path / "log.died").exists()
    assert rows(tmp_path).drop("kind").equals(uninterrupted.drop("kind"))


@pytest.mark.soak
def test_a_running_cluster_is_used(tmp_path, uninterrupted):
    """A scheduler and two workers, started on their own as an administrator would."""
    address = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", str(address), "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*dask, "--no-dashboard", "--host", "127.0.0.1"], **quiet)]
    try:
        while not address.exists():
            time.sleep(0.1)
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(address),
            "--nthreads",
            "1",
        ]
        processes += [subprocess.Popen([*worker, "--no-dashboard"], **quiet, cwd=tmp_path) for _ in range(2)]
        (url,) = re.findall(r'"address": "(tcp://[^"]+)"', address.read_text())
        code, output = finish(tmp_path, "--scheduler", url)
        assert code == 0 and "12 done" in output, output
        assert rows(tmp_path).equals(uninterrupted)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


@pytest.mark.parametrize(
    "words, said",
    [
        (["--set", "y=3"], "axis: unknown name 'y'"),
        (["--set", "x=many"], "axis x: int is needed, got 'many'"),
        (["--timeout", "-1"], "--timeout: a number above 0"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "give one of the two"),
    ],
)
def test_bad_words_are_refused_before_anything_runs(tmp_path, words, said):
    log = tmp_path / "log"
    log.touch()
    code, output = finish(tmp_path, *words, log=log)
    assert code == 2 and said in output and "Traceback" not in output and not measured(log)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", "0.2s")
    with (
        pytest.raises(UserError, match="no Dask scheduler answers at tcp://127"),
        cluster.client_of(None, "tcp://127.0.0.1:1"),
    ):
        pass


def test_a_file_may_hold_the_words_and_the_command_line_wins(tmp_path):
    (tmp_path / "words.toml").write_text('scale = "smoke"\ntimeout = 60\n[set]\nx = [1, 2, 3]\nkind = "diverges"\n')
    line = [sys.executable, "-m", "tbptt_jax.cli", "run", str(TOY), "--results", str(tmp_path)]
    line += ["--config", str(tmp_path / "words.toml")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1 and "2 done, 1 diverged" in done.stdout, done.stdout + done.stderr
    done = subprocess.run([*line, "--set", "kind=fine", "--set", "x=4,5"], capture_output=True, text=True)
    assert done.returncode == 0 and "2 done" in done.stdout
    for text, said in (
        ("jbos = 2", "Did you mean jobs"),
        ("seeds = 'x'", "seeds must be of type int"),
        ("=", "cannot be read"),
    ):
        (tmp_path / "words.toml").write_text(text)
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr


def test_status_claims_plot_and_export_work_from_the_store_alone(tmp_path, uninterrupted):
    finish(tmp_path, "--set", "kind=raises")

    def ask(name, *words):
        line = [sys.executable, "-m", "tbptt_jax.cli", name, str(TOY), "--results", str(tmp_path), *words]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    status, claims = ask("status"), ask("claims")
    assert "toy, of 12 cells: 11 done, 1 failed" in status and "this cell always fails" in status
    assert "undecided" in claims and "11 rows" in claims
    assert ask("plot") == ""  # it has no figures
    for ending, read in ((".csv", pl.read_csv), (".parquet", pl.read_parquet)):
        ask("export", "--output", str(tmp_path / f"table{ending}"))
        assert read(tmp_path / f"table{ending}").height == 11
    line = [sys.executable, "-m", "tbptt_jax.cli", "export", str(TOY), "--results", str(tmp_path), "--output", "a.xls"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and "ends in .csv or .parquet" in done.stderr
