"""Processes on this machine, a cell at a time each: what one does to itself is that cell's, and nobody else's."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO, Any

from tbptt_jax.errors import Stopped, UserError
from tbptt_jax.records.cell import Cell, Plan
from tbptt_jax.running.loop import Hands, Outcome

LOG = 64_000  # bytes that are kept of what a cell said, from its end
STARTS = 3  # of a process that dies before it has answered once
PATIENT = {"OPENBLAS_NUM_THREADS": "1"}
"""LAPACK divides even small matrices among threads of its own, which wait long for cores that other cells have taken:
a training with a critic took twelve times as long."""
WATCH = 0.05  # seconds between two looks at memory and time


class Process:
    """One child, and what it is at."""

    def __init__(self, environment: Mapping[str, str]):
        self.connection, theirs = Pipe()
        self.log: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        handle = theirs.fileno()
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "tbptt_jax.running.child", str(handle)],  # -P: no file here hides a module
            pass_fds=[handle],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**PATIENT, **os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        )
        theirs.close()
        self.cell: Cell | None = None
        self.since = time.monotonic()
        self.answered = False

    def send(self, **words: Any) -> None:
        self.since = time.monotonic()
        self.log.seek(0)
        self.log.truncate()
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died: that is seen when its answer is read
            self.connection.send_bytes(json.dumps(words).encode())

    def said(self) -> str:
        """The end of what it wrote since it was last sent something."""
        end = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, end - LOG))
        return self.log.read().decode(errors="replace")

    def kill(self) -> None:
        """End it, and all that it started."""
        for pid in (*descendants(self.popen.pid), *members(self.popen.pid)):
            kill(pid)
        kill(self.popen.pid)
        self.popen.wait()
        for pid in members(self.popen.pid):
            kill(pid)
        self.connection.close()
        self.log.close()

    def memory(self) -> int:
        """Bytes of memory that it and its children hold."""
        return sum(map(resident, [self.popen.pid, *descendants(self.popen.pid)]))


class Processes(Hands):
    """`jobs` children. A cell that takes longer than `timeout` or more memory than `memory` ends with its process."""

    def __init__(
        self,
        name: str,
        jobs: int,
        scratch: Path,
        *,
        devices: int | None = None,
        timeout: float | None = None,
        memory: int | None = None,
    ):
        self.name, self.scratch, self.timeout, self.memory = name, scratch, timeout, memory
        self.places = [surroundings(i, jobs, devices) for i in range(jobs)]
        self.processes: list[Process | None] = [None] * jobs
        self.starts = [0] * jobs

    def plan(self, choices: Mapping[str, Any]) -> Plan:
        """What the first child makes of a grid."""
        process = self._at(0)
        process.send(do="plan", name=self.name, choices=dict(choices))
        try:
            words = json.loads(process.connection.recv_bytes())
        except (EOFError, ConnectionResetError) as error:
            process.popen.wait()
            said = process.said()
            self._bury(0)
            raise Stopped(f"the process that reads the experiment died: {said[-2000:]}") from error
        process.answered = True
        if "refused" in words:
            raise UserError(words["refused"])
        experiment, version, asked, cells, origins, environment = words["plan"]
        return Plan(experiment, version, asked, [Cell(*cell) for cell in cells], origins, environment)

    def free(self) -> int:
        return sum(process is None or process.cell is None for process in self.processes)

    def give(self, cell: Cell) -> None:
        busy = [process is not None and process.cell is not None for process in self.processes]
        process = self._at(busy.index(False))
        process.cell = cell
        words = {"axes": cell.axes, "identity": cell.identity, "origin": cell.origin, "scratch": str(self.scratch)}
        process.send(do="measure", name=self.name, environment=self.environment, **words)

    def running(self) -> list[tuple[Cell, float]]:
        now = time.monotonic()
        return [(one.cell, now - one.since) for one in self.processes if one is not None and one.cell is not None]

    def taken_back(self, patience: float) -> Iterator[Outcome]:
        deadline = time.monotonic() + patience
        while self.running():
            found = list(self._settled())
            if found or time.monotonic() > deadline:
                yield from found
                return

    def _settled(self) -> Iterable[Outcome]:
        at = {one.connection: i for i, one in enumerate(self.processes) if one is not None and one.cell is not None}
        ready = wait(list(at), timeout=WATCH)
        for connection in ready:
            assert isinstance(connection, Connection)
            if (outcome := self._answer(at[connection])) is not None:
                yield outcome
        for connection, i in at.items():
            if connection not in ready and (reason := self._too_much(i)):
                yield self._died(i, reason)

    def _answer(self, i: int) -> Outcome | None:
        process = self.processes[i]
        assert process is not None and process.cell is not None
        try:
            words = json.loads(process.connection.recv_bytes())
            if "refused" in words:
                raise Stopped(words["refused"])
            if "began" in words:  # the time that a process takes to start is no cell's
                process.since = time.monotonic()
                return None
            line = process.connection.recv_bytes()
            arrays = {name: process.connection.recv_bytes() for name in words["arrays"]}
        except (EOFError, ConnectionResetError):
            return self._died(i, "")
        cell, process.cell, process.answered = process.cell, None, True
        log = process.said() if words["status"] == "failed" else ""
        return Outcome(cell, words["status"], words["reason"], words["seconds"], line, arrays, log)

    def _too_much(self, i: int) -> str:
        """Why a child must end now, "" if it need not."""
        process = self.processes[i]
        assert process is not None
        spent = time.monotonic() - process.since
        if self.timeout is not None and spent > self.timeout:
            return f"did not end within {self.timeout:g} s (--timeout)"
        if self.memory is not None and process.memory() > self.memory:
            return f"took more than {self.memory / 2**30:.3g} GiB of memory (--memory)"
        return "" if process.popen.poll() is None or process.connection.poll() else "died"

    def _died(self, i: int, reason: str) -> Outcome:
        """What is said of a cell whose process is gone, or has to go."""
        process = self.processes[i]
        assert process is not None and process.cell is not None
        cell, spent, log = process.cell, time.monotonic() - process.since, process.said()
        if reason in ("", "died"):
            try:
                code = process.popen.wait(timeout=5)
            except subprocess.TimeoutExpired:
                reason = "its process closed the connection"
            else:
                reason = how_it_ended(code)
        self._bury(i)
        if not process.answered:
            self.starts[i] += 1
            if self.starts[i] >= STARTS:
                raise Stopped(f"{STARTS} processes died before they had measured anything: {reason}\n{log[-2000:]}")
        return Outcome(cell, "failed", reason, spent, None, {}, log)

    def _at(self, i: int) -> Process:
        process = self.processes[i]
        if process is None:
            process = self.processes[i] = Process(self.places[i])
        return process

    def _bury(self, i: int) -> None:
        process, self.processes[i] = self.processes[i], None
        if process is not None:
            process.kill()

    def close(self) -> None:
        for i in range(len(self.processes)):
            self._bury(i)


def how_it_ended(code: int) -> str:
    """The end of a process in words."""
    if code >= 0:
        return f"its process ended by itself, with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}"


def surroundings(i: int, jobs: int, devices: int | None) -> dict[str, str]:
    """Variables for the i-th child: a GPU of its own where there are any, or its share of one; so many CPU devices."""
    found = {"JAX_NUM_CPU_DEVICES": str(devices)} if devices else {}
    gpus = visible_gpus()
    if gpus and jobs > 1:
        found["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)]
        sharing = -(-jobs // len(gpus))
        if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
            found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / sharing:.3f}"
    return found


def visible_gpus() -> list[str]:
    """NVIDIA's GPUs that may be used here, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    try:
        return [str(i) for i, _ in enumerate(sorted(os.listdir("/proc/driver/nvidia/gpus")))]
    except OSError:
        return []


def kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def stat(pid: int) -> list[str]:
    """The fields of a process after its name, on Linux: state, parent, group, session, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def members(session: int) -> list[int]:
    """The processes of a session, orphans included, without its leader."""
    return [pid for pid in all_pids() if pid != session and (fields := stat(pid)) and int(fields[3]) == session]


def descendants(pid: int) -> list[int]:
    """Children and children's children, on Linux."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        try:
            text = " ".join(path.read_text() for path in Path(f"/proc/{one}/task").glob("*/children"))
        except OSError:
            continue
        children = [int(word) for word in text.split()]
        found += children
        waiting += children
    return found


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
