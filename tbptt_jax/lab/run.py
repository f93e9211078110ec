"""Compute the cells of a grid that have no record yet, in this process; whatever becomes of one is a record."""

import math
import os
import platform
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from tbptt_jax.lab.config import Config
from tbptt_jax.lab.store import Record, Store

RUN = "TBPTT_RUN"  # the name of a run, the same for all of its processes
SCRATCH: ContextVar[Path | None] = ContextVar("scratch", default=None)
Report = Callable[[Record, bool], None]


def run(
    configs: list[Config],
    store: Store,
    report: Report = lambda record, fresh: None,
    *,
    timeout: float | None = None,
    fail_fast: bool = False,
    debug: bool = False,
    give_up: Callable[[], None] | None = None,
) -> list[Record]:
    """The records of all cells. A cell that is recorded is not computed again, but one that failed in another run is.

    A cell that another runner on the same folder is at is left to it, and waited for. `report(record, fresh)` hears of
    every cell, `fresh` where it was computed here. With `debug` an exception is raised where it happens.
    """
    os.environ.setdefault(RUN, uuid.uuid4().hex)
    records: dict[str, Record] = {}
    waiting = {config.identity: config for config in configs}
    while waiting:
        progressed = False
        for name, config in list(waiting.items()):
            with store.claim(name) as mine:
                record = needs_no_computing(store, name)
                fresh = record is None and mine
                if fresh:
                    with store.scratch(name) as folder, scratch_at(folder):
                        with watchdog(config, store, timeout, give_up or start_anew):
                            record = compute(config, debug)
                        store.write(record)
            if record is not None:
                records[name] = record
                del waiting[name]
                report(record, fresh)
                progressed = True
                if fail_fast and record.status == "failed":
                    return list(records.values())
        if waiting and not progressed:
            time.sleep(0.2)  # another runner is at all that is left
    return list(records.values())


@contextmanager
def scratch_at(folder: Path):
    token = SCRATCH.set(folder)
    try:
        yield
    finally:
        SCRATCH.reset(token)


def checkpoint(name: str) -> Path | None:
    """Where a `measure` may keep the state of a long computation, as `tb.train(..., checkpoint=...)` does.

    It is found again if the cell is killed and run again, and removed when that is done. None outside of a run."""
    folder = SCRATCH.get()
    return None if folder is None else folder / name


def needs_no_computing(store: Store, name: str) -> Record | None:
    """A cell's record, if it need not be computed: finished, diverged, or failed in this very run."""
    record = store.read(name)
    if record is not None and record.status == "failed" and record.environment.get("run") != os.environ.get(RUN):
        return None
    return record


def compute(config: Config, debug: bool = False) -> Record:
    """Measure one cell; whatever happens is a record."""
    import jax

    start = time.monotonic()
    rows: list[dict[str, Any]] = []
    try:
        rows = config.experiment.measure(config, jax.random.key(config.seed))
        status, reason = ("diverged", f"{where} is not finite") if (where := not_finite(rows)) else ("done", "")
    except Exception as error:
        if debug:
            raise
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        status, reason = (
            "failed",
            f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})",
        )
        rows = []
    if crowded():
        jax.clear_caches()
    seconds = time.monotonic() - start
    return Record(config.identity, config.columns, status, reason, rows, environment(), seconds)


def crowded() -> bool:
    """Whether half of the memory maps that a process may have are taken: compiled programs take some each, and those of
    a hundred cells or two can take all. Only Linux counts them."""
    try:
        with open("/proc/self/maps") as maps, open("/proc/sys/vm/max_map_count") as most:
            return 2 * sum(1 for _ in maps) > int(most.read())
    except OSError:
        return False


def not_finite(rows: Sequence[Mapping[str, Any]]) -> str:
    """The name of a number that is NaN or infinite, "" where all are fine."""
    for row in rows:
        for name, value in row.items():
            if np.ndim(value) == 0 and isinstance(value, str | bool | type(None)):
                continue
            if not (np.isfinite(value).all() if np.ndim(value) else math.isfinite(value)):
                return name
    return ""


def environment() -> dict[str, Any]:
    import jax

    from tbptt_jax.version import __version__

    return {
        "tbptt_jax": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
        "run": os.environ.get(RUN, ""),
    }


@contextmanager
def watchdog(config: Config, store: Store, timeout: float | None, leave: Callable[[], None]):
    """Record a cell that does not end in time as failed; a compiled loop cannot be interrupted, so `leave` it then."""
    if timeout is None:
        yield
        return

    def give_up():
        reason = f"did not end within {timeout:g} s (--timeout)"
        store.write(Record(config.identity, config.columns, "failed", reason, [], environment(), timeout))
        leave()

    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def start_anew() -> None:
    """Replace this process by the same command: what it had finished is in the store, and the run keeps its name."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tbptt_jax.cli", *sys.argv[1:]])
