"""Measure one cell, in whatever process this is; whatever becomes of it is a record."""

import math
import os
import platform
import shutil
import subprocess
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tbptt_jax.lab.config import Config
from tbptt_jax.records.record import Record, storable

COMPILES = 0.005
"""Seconds that a cell takes at least if it compiles anything."""
SCRATCH: ContextVar[Path | None] = ContextVar("scratch", default=None)


def checkpoint(name: str) -> Path | None:
    """Where a `measure` may keep the state of a long computation, as `tb.train(..., checkpoint=...)` does.

    It is found again if the cell is stopped and run again, and removed when that is done.

    Args:
        name: The file's name.

    Returns:
        The path; None outside of a run.
    """
    folder = SCRATCH.get()
    return None if folder is None else folder / name


@contextmanager
def scratch_at(folder: Path) -> Iterator[None]:
    token = SCRATCH.set(folder)
    try:
        yield
    finally:
        SCRATCH.reset(token)


def measured(config: Config, origin: str, environment: str, scratch: Path, *, debug: bool = False) -> Record:
    """The record of a cell. What it kept for itself in `scratch` goes when it is done, and stays when it failed."""
    import jax

    start = time.monotonic()
    rows: list[dict[str, Any]] = []
    try:
        with scratch_at(scratch):
            rows = storable(config.experiment.measure(config, jax.random.key(config.seed)), config.columns)
        status, reason = ("diverged", f"{where} is not finite") if (where := not_finite(rows)) else ("done", "")
        shutil.rmtree(scratch, ignore_errors=True)
    except (Exception, SystemExit) as error:
        if debug:
            raise
        traceback.print_exc()
        status, reason = "failed", said(error)
    seconds = time.monotonic() - start
    if seconds > COMPILES and crowded():
        jax.clear_caches()
    return Record(config.identity, origin, config.columns, status, reason, rows, environment, seconds)


def said(error: BaseException) -> str:
    """An exception in a line: its kind, what it says, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def not_finite(rows: Sequence[Mapping[str, Any]]) -> str:
    """The name of a number that is NaN or infinite, "" where all are fine."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, np.ndarray):
                if value.dtype.kind == "f" and not np.isfinite(value).all():
                    return name
            elif isinstance(value, float) and not math.isfinite(value):
                return name
    return ""


def crowded() -> bool:
    """Whether half of the memory maps that a process may have are taken: compiled programs take some each, and those of
    a hundred cells or two can take all. Only Linux counts them."""
    try:
        with open("/proc/self/maps") as maps, open("/proc/sys/vm/max_map_count") as most:
            return 2 * sum(1 for _ in maps) > int(most.read())
    except OSError:
        return False


@cache
def environment() -> dict[str, Any]:
    """Where this process computes."""
    import jax

    from tbptt_jax.version import __version__

    return {
        "tbptt_jax": __version__,
        **{package: version(package) for package in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "python": platform.python_version(),
        "device": f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}",
        "commit": commit(),
    }


@cache  # as it was when this process began: files may be edited while it runs
def commit() -> str:
    """The commit that the package is at, marked where files differ from it; "" outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    where = Path(__file__).resolve().parent
    words = [git, "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=where)
    return done.stdout.strip()
