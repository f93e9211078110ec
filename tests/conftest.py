"""Tests run in float64, and with the shapes and types of every annotation checked at run time.

Their programs are tiny and many, so they are compiled without the optimizations that take the compiler's time.
"""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
install_import_hook("tbptt_jax", "beartype.beartype")
