"""Alternating measurements, and the machine's own rate to hold them against."""

import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp


def alternate(programs: Mapping[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """The median seconds of each program; all are run once, then in turn."""
    seconds: dict[Any, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def folder_of(results: Path, benchmark: str, device: str) -> Path:
    """Where a benchmark's table and figure are kept: under the device's name."""
    folder = results / benchmark / re.sub(r"\W+", "_", device.lower()).strip("_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def matrix_rate(size: int = 1024, rounds: int = 20) -> float:
    """Operations a second of a large float32 matrix product."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    multiply = jax.jit(jnp.matmul)
    return 2 * size**3 / alternate({"product": lambda: multiply(a, a)}, rounds)["product"]
