"""Cells on clusters that are real: Dask's scheduler and workers, and a SLURM queue on the loopback interface."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tbptt_jax.errors import UserError
from tbptt_jax.running import cluster
from tests.lab.command import TOY, finish, measured, rows, start, tbptt, wait_for

SMOKE = ("--scale", "smoke")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", "0.2s")
    with (
        pytest.raises(UserError, match="no Dask scheduler answers at tcp://127"),
        cluster.client_of("tcp://127.0.0.1:1", None, 1),
    ):
        pass


def test_words_for_slurm_are_read():
    assert cluster.slurm_options("partition=gpu, cores=4,memory=8GB") == {"queue": "gpu", "cores": 4, "memory": "8GB"}
    with pytest.raises(UserError, match="words like \"partition=gpu,cores=4\" are needed, got 'cores'"):
        cluster.slurm_options("partition=gpu,cores")


@pytest.fixture
def dask(tmp_path):
    """A scheduler and two workers, started on their own as an administrator would; its address, and the processes."""
    address = tmp_path / "scheduler.json"
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", str(address)]
    processes = [subprocess.Popen([*scheduler, "--port", "0", "--no-dashboard", "--host", "127.0.0.1"], **QUIET)]
    wait_for(lambda: address.exists() and address.read_text())
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--nthreads", "1"]
    processes += [subprocess.Popen([*worker, "--no-dashboard"], **QUIET, cwd=tmp_path) for _ in range(2)]
    (url,) = re.findall(r'"address": "(tcp://[^"]+)"', address.read_text())
    yield url, processes
    for process in reversed(processes):
        process.terminate()
        process.wait()


@pytest.mark.soak
def test_a_running_cluster_measures_the_same_with_the_code_as_it_is_now(tmp_path, capfd, dask):
    """Its workers have been up before the code is edited; each run sees the code of its own time."""
    url, _ = dask
    toy = tmp_path / "my_toy.py"
    toy.write_text(TOY.read_text())
    assert tbptt(capfd, "run", toy, *SMOKE, results=tmp_path / "here")[0] == 0
    code, output = tbptt(capfd, "run", toy, *SMOKE, "--scheduler", url, results=tmp_path / "there")
    assert code == 0 and "12 done" in output, output
    assert rows(tmp_path / "there").equals(rows(tmp_path / "here"))
    toy.write_text(TOY.read_text().replace("normal()", "normal() * 100"))
    code, output = tbptt(capfd, "run", toy, *SMOKE, "--scheduler", url, results=tmp_path / "there")
    assert code == 0 and "stale: 12 cells" in output, output
    hundredfold = [value * 100 for value in rows(tmp_path / "here")["value"]]
    assert rows(tmp_path / "there")["value"].to_list() == hundredfold


@pytest.mark.soak
def test_a_cell_that_harms_its_process_harms_no_worker_and_is_alone_to_blame(tmp_path, capfd, dask):
    axes = ("--set", "x=1,2", "--set", "kind=segfault,leaves,never ends")
    limits = ("--scheduler", dask[0], "--timeout", 5)
    code, output = tbptt(capfd, "run", TOY, *SMOKE, *axes, *limits, results=tmp_path)
    assert code == 1 and "3 done, 3 failed" in output, output
    for cause in ("SIGSEGV", "exit code 0", "did not end within 5 s"):
        assert cause in output


@pytest.mark.soak
def test_a_worker_that_is_lost_is_replaced_and_its_cell_given_again(tmp_path, dask):
    url, processes = dask
    log = tmp_path / "log"
    run = start(*SMOKE, "--set", "pause=1", "--scheduler", url, results=tmp_path)
    shards = tmp_path / "toy" / "cells"
    wait_for(lambda: any(path.stat().st_size for path in shards.glob("*.jsonl")))
    processes[1].send_signal(signal.SIGTERM)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0 and "12 done" in output, output
    assert not measured(log)


@pytest.mark.soak
def test_a_scheduler_that_dies_ends_the_run_and_blames_no_cell(tmp_path, dask):
    url, processes = dask
    words = (*SMOKE, "--set", "pause=1")
    run = start(*words, "--scheduler", url, results=tmp_path)
    shards = tmp_path / "toy" / "cells"
    wait_for(lambda: sum(path.read_text().count('"record"') for path in shards.glob("*.jsonl")) >= 3)
    processes[0].kill()
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 3 and "scheduler is gone" in output and "Traceback" not in output, output
    done = sum(path.read_text().count('"record"') for path in shards.glob("*.jsonl"))
    assert "failed" not in "".join(path.read_text() for path in shards.glob("*.jsonl"))
    assert not (tmp_path / "toy" / "chosen").exists()  # no conclusion over what is there
    code, output = finish(*words, results=tmp_path)
    assert code == 0 and "12 done" in output and output.count("done      x=") == 12 - done, output


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """slurmctld and slurmd on this machine, with munge, as root; skipped where they are not installed."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch"))):
        pytest.skip("needs root, and Debian's slurmctld, slurmd and munge")
    name, ports = socket.gethostname(), []
    for _ in range(2):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    (tmp_path / "key").write_bytes(os.urandom(1024))
    (tmp_path / "key").chmod(0o600)
    words = {
        "ClusterName": "test",
        "SlurmctldHost": f"{name}(127.0.0.1)",
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "CryptoType": "crypto/munge",
        "AuthInfo": f"socket={tmp_path}/munge",
        "SlurmctldPort": ports[0],
        "SlurmdPort": ports[1],
        "StateSaveLocation": tmp_path / "state",
        "SlurmdSpoolDir": tmp_path / "spool",
        "SlurmctldPidFile": tmp_path / "slurmctld.pid",
        "SlurmdPidFile": tmp_path / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "MpiDefault": "none",
    }
    lines = [f"{key}={value}" for key, value in words.items()]
    lines += [f"NodeName={name} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN"]
    lines += ["PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP"]
    (tmp_path / "slurm.conf").write_text("\n".join(lines) + "\n")
    for folder in ("state", "spool"):
        (tmp_path / folder).mkdir()
    tmp_path.chmod(0o755)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    munge = ["munged", "--force", "--foreground", f"--key-file={tmp_path}/key", f"--socket={tmp_path}/munge"]
    munge += [f"--{one}-file={tmp_path}/munge.{one}" for one in ("log", "pid", "seed")]
    processes = [subprocess.Popen(munge, **QUIET)]
    time.sleep(1)
    processes += [subprocess.Popen([daemon, "-D"], **QUIET) for daemon in ("slurmctld", "slurmd")]
    wait_for(lambda: "idle" in subprocess.run(["sinfo"], capture_output=True, text=True).stdout)
    yield
    for process in reversed(processes):
        process.terminate()
        process.wait()


@pytest.mark.soak
def test_slurm_runs_the_cells(tmp_path, capfd, slurm):
    """Two jobs in a queue; the table is that of one machine, and no job is left behind."""
    pytest.importorskip("dask_jobqueue")
    assert tbptt(capfd, "run", TOY, *SMOKE, results=tmp_path / "here")[0] == 0
    words = f"partition=debug,cores=1,memory=1GB,shared_temp_directory={tmp_path}/tls,log_directory={tmp_path}/logs"
    words += ",interface=lo"
    code, output = finish(*SMOKE, "--slurm", words, "--jobs", 2, results=tmp_path / "there", HOME=str(tmp_path))
    assert code == 0 and "12 done" in output, output
    assert rows(tmp_path / "there").equals(rows(tmp_path / "here"))
    wait_for(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout.strip())
