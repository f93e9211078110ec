"""The loop of a run: give cells away, keep what comes back, and leave to other runners what they are at."""

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tbptt_jax.errors import Stopped
from tbptt_jax.files import write_atomically
from tbptt_jax.records.cell import Cell, Plan, label, varying
from tbptt_jax.records.leases import Leases
from tbptt_jax.records.record import Record, encode
from tbptt_jax.records.store import FINISHED, Store

TICK = 0.2  # seconds
FLUSH_EVERY = 1.0  # seconds; what a power failure takes is measured again


class Outcome(NamedTuple):
    """What became of a cell that was given away: its line and large arrays, or why there is none, and what it said."""

    cell: Cell
    status: str
    reason: str
    seconds: float
    line: bytes | None
    arrays: dict[str, bytes]
    log: str


class Hands(ABC):
    """Who measures cells: this process, others on this machine, or a cluster."""

    scratch: Path
    """Where a cell finds again what it kept for itself."""
    environment: str = ""
    """The digest of what the plan says of where cells are measured; records name it."""

    @abstractmethod
    def plan(self, choices: Mapping[str, Any]) -> Plan:
        """What the code, as it is now, makes of a grid."""

    @abstractmethod
    def free(self) -> int:
        """How many cells more can be given."""

    @abstractmethod
    def give(self, cell: Cell) -> None: ...

    @abstractmethod
    def taken_back(self, patience: float) -> Iterable[Outcome]:
        """What is done by now; it waits so long for the first."""

    @abstractmethod
    def running(self) -> list[tuple[Cell, float]]:
        """The cells that are being measured, and for how many seconds."""

    @abstractmethod
    def close(self) -> None: ...


class Progress(NamedTuple):
    """How a run is going, to whoever shows it."""

    cell: Cell | None
    """The one that was just settled, if it is that what is reported."""
    status: str
    reason: str
    fresh: bool
    """Whether it was measured in this run."""
    running: list[tuple[Cell, float]]
    left: float
    """Seconds until all is done, at the pace so far; −1: nobody knows."""


def run(
    cells: Sequence[Cell],
    store: Store,
    hands: Hands,
    notes: Sequence[dict[str, Any]] = (),
    report: Callable[[Progress], None] = lambda progress: None,
    *,
    fail_fast: bool = False,
) -> Counter:
    """Measure the cells that have no record; how many ended how, those included that were recorded before.

    A cell that failed in an earlier run is measured again, one that failed since this began is not. Another runner's
    cell is left to it and waited for.
    """
    began = store.refresh().turn
    leases = Leases(store.cells)
    waiting, elsewhere = deque(cells), deque[Cell]()
    given_back: list[Cell] = []
    counts: Counter = Counter()
    start = now = flushed = looked = time.monotonic()
    fresh = 0
    names = varying(cells)

    def settled(cell: Cell) -> bool:
        place = store.places.get(cell.key)
        if place is None or (place.status not in FINISHED and place.turn < began):
            return False
        counts[place.status] += 1
        report(Progress(cell, place.status, "", False, hands.running(), left()))
        return True

    def left() -> float:
        """Seconds to the end, if what is left takes as long as what was measured."""
        return (now - start) / fresh * (len(cells) - counts.total()) if fresh else -1.0

    def flush() -> None:
        nonlocal flushed
        store.flush()
        for cell in given_back:
            leases.give_back(cell.identity)
        given_back.clear()
        flushed = time.monotonic()

    try:
        while waiting or elsewhere or hands.running():
            while waiting and hands.free():
                cell = waiting.popleft()
                if settled(cell):
                    continue
                if not leases.take(cell.identity):
                    elsewhere.append(cell)
                    continue
                store.refresh()  # another runner may have recorded it, and let it go, this moment
                if settled(cell):
                    leases.give_back(cell.identity)
                    continue
                hands.give(cell)
            for outcome in hands.taken_back(TICK):
                keep(store, outcome, notes, hands.environment)
                given_back.append(outcome.cell)
                counts[outcome.status] += 1
                fresh += 1
                report(Progress(outcome.cell, outcome.status, outcome.reason, True, hands.running(), left()))
                if fail_fast and outcome.status == "failed":
                    return counts
            now = time.monotonic()
            if now - flushed > FLUSH_EVERY:
                flush()
                report(Progress(None, "", "", False, hands.running(), left()))
            running = {label(cell.columns, names): seconds for cell, seconds in hands.running()}
            leases.beat(running, dict(counts), left())
            if elsewhere and not waiting and now - looked > TICK:
                store.refresh()
                looked, waiting, elsewhere = now, elsewhere, deque()
                if not hands.running():
                    time.sleep(TICK)
    finally:
        try:
            flush()
        finally:
            for cell, _ in hands.running():
                leases.give_back(cell.identity)
            leases.close()
            hands.close()
            store.close()
    return counts


def keep(store: Store, outcome: Outcome, notes: Sequence[dict[str, Any]], environment: str) -> None:
    """Record what became of a cell; what a failed one said goes into a file of its own."""
    line, arrays, cell = outcome.line, outcome.arrays, outcome.cell
    if line is None:
        record = Record(
            *(cell.identity, cell.origin, cell.columns, outcome.status, outcome.reason),
            *([], environment, outcome.seconds),
        )
        line, arrays = encode(record)
    if outcome.log and outcome.status == "failed":
        logs = store.cells / "logs"
        try:
            logs.mkdir(exist_ok=True)
            write_atomically(logs / f"{cell.identity}.log", outcome.log.encode())
        except OSError as error:
            raise Stopped(f"--results: {logs}: {error.strerror}") from error
    store.append(line, arrays, notes)


def log_of(store: Store, identity: str) -> Path | None:
    """What a cell said that failed."""
    path = store.cells / "logs" / f"{identity}.log"
    return path if path.is_file() else None
