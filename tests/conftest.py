"""Tests run in float64, and with the shapes of annotated arrays checked at run time.

Their programs are tiny and many, so they are compiled as fast as can be, and kept for the tests that follow: each
worker has a folder for them, and so have the processes that it starts.
"""

import gc
import os
from importlib.metadata import version
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ |= {
    "JAX_ENABLE_X64": "1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE / os.environ.get("PYTEST_XDIST_WORKER", "alone")),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",  # programs need not know which lines they came from
    "JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS": "0",
}
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers take all cores: LAPACK's own threads would wait for them
if version("jaxlib").startswith("0.10."):  # of others nobody knows whether they have these flags
    quickly = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"  # compile in a quarter
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quickly}"

from jaxtyping import install_import_hook  # noqa: E402

import tests.shapes_checked  # noqa: E402, F401

install_import_hook("tbptt_jax", "beartype.beartype")

from tbptt_jax.jax_internals import share_contexts  # noqa: E402

share_contexts()

gc.set_threshold(
    100_000, 50, 50
)  # programs that are traced are many small objects, which are searched in vain for cycles

MAPS = Path("/proc/self/maps")
MANY = 15_000  # of the 65,530 that a process may have; a compiled program takes some


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
    """Let go of compiled programs before there are more than the system lets a process map, which is a crash."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY:
        import jax

        jax.clear_caches()
        gc.collect()
