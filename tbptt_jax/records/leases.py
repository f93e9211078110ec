"""Who is at a cell: a file a cell, created by the one runner that gets it, where no lock of the system is relied on.

Every runner has a file too, its heartbeat. One whose heart has stopped for a while, or whose process is gone from this
machine, is dead, and what it held can be taken: not by removing its file, which two could do one after the other, but
by creating the next in a chain, `cell~dead runner`, which only one can.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tbptt_jax.files import create

BEAT = 5.0
"""Seconds from one beat to the next."""
DEAD_AFTER = 60.0
"""Seconds without a beat, by the clock of whoever watches."""


class Runner(NamedTuple):
    """What a runner says of itself with every beat."""

    host: str
    boot: str
    pid: int
    started: str
    running: dict[str, float]
    """What it is at, in words, and for how many seconds."""
    counts: dict[str, int]
    """Cells by status, as far as it has come."""
    left: float
    """Seconds until it is done, at the pace so far; −1: nobody knows."""


class Leases:
    """Those of one runner on one store's folder."""

    def __init__(self, cells: Path):
        self.folder = cells / "leases"
        self.runners = cells / "runners"
        self.me = secrets.token_hex(8)
        self._held: dict[str, Path] = {}
        self._seen: dict[str, tuple[Any, float]] = {}
        self._beaten = -BEAT
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runners.mkdir(parents=True, exist_ok=True)
        self.beat({}, {}, -1.0)

    def take(self, cell: str) -> bool:
        """Whether this runner has the cell to itself now."""
        name = cell
        while True:
            path = self.folder / name
            try:
                handle = create(path)
            except FileExistsError:
                holder = self._holder(path)
                if holder is None:
                    continue  # it was given back this moment
                if not self.dead(holder):
                    return False
                name = f"{cell}~{holder}"
                continue
            with open(handle, "w") as file:
                file.write(self.me)
            self._held[cell] = path
            return True

    def _holder(self, path: Path) -> str | None:
        for _ in range(20):
            try:
                if text := path.read_text():
                    return text
            except FileNotFoundError:
                return None
            time.sleep(0.005)  # it was created this moment
        return "nobody"  # whoever created it was killed before it could write its name

    def give_back(self, cell: str) -> None:
        """Let the cell go; what dead runners held of it is swept away with it."""
        path = self._held.pop(cell, None)
        if path is not None:
            path.unlink(missing_ok=True)
            while (cut := path.name.rpartition("~")[0]) and len(cut) > 1:
                path = path.with_name(cut)
                path.unlink(missing_ok=True)

    def beat(self, running: dict[str, float], counts: dict[str, int], left: float) -> None:
        """Say that this runner lives, and what it is at; to be called often, it writes now and then."""
        now = time.monotonic()
        if now - self._beaten < BEAT:
            return
        self._beaten = now
        words = Runner(socket.gethostname(), boot(), os.getpid(), started(os.getpid()), running, counts, left)
        path = self.runners / self.me
        temporary = self.runners / f".{self.me}.{secrets.token_hex(4)}"
        with open(create(temporary), "w") as file:
            json.dump(words._asdict() | {"beat": time.time()}, file)
        os.replace(temporary, path)

    def dead(self, runner: str) -> bool:
        """Whether a runner will not come back."""
        if runner == self.me:
            return False
        try:
            content = (self.runners / runner).read_text()
            words = json.loads(content)
            if (words["host"], words["boot"]) == (socket.gethostname(), boot()):
                return started(words["pid"]) != words["started"]
        except FileNotFoundError:
            return True
        except (OSError, ValueError, KeyError, TypeError):
            content = ""
        now = time.monotonic()
        before, since = self._seen.setdefault(runner, (content, now))
        if content != before:
            self._seen[runner] = (content, now)
            return False
        return now - since > DEAD_AFTER

    def close(self) -> None:
        for cell in list(self._held):
            self.give_back(cell)
        (self.runners / self.me).unlink(missing_ok=True)


def alive(cells: Path) -> Iterator[dict[str, Any]]:
    """What the runners on a folder say of themselves, of those that may be alive."""
    for path in sorted((cells / "runners").glob("[!.]*")):
        try:
            words = json.loads(path.read_text())
            here = (words["host"], words["boot"]) == (socket.gethostname(), boot())
            if started(words["pid"]) == words["started"] if here else time.time() - words["beat"] < DEAD_AFTER:
                yield words
        except (OSError, ValueError, KeyError, TypeError):
            continue


def boot() -> str:
    """Which start of this machine it is: numbers of processes mean something within one alone."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started(pid: int) -> str:
    """When a process of this machine was started, "" where there is none: numbers of processes are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except (PermissionError, OSError):
        pass
    return "alive" if not os.path.isdir("/proc/self") else ""
