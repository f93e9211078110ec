"""What the other tests set and users do not: 64 bits, and a compiler that is in a hurry."""

import os

FLAGS = ("JAX_ENABLE_X64", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")


def environment(**more: str) -> dict[str, str]:
    """Of a process as a user starts it."""
    return {name: value for name, value in os.environ.items() if name not in FLAGS} | more
