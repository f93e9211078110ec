"""What truncated backpropagation through time costs and what it buys: gradient estimators for recurrent models.

`import tbptt_jax as tb`: the public names are those of `tbptt_jax.api`. They are imported when the first one is used,
so that a command which needs no JAX does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbptt_jax.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    api = import_module("tbptt_jax.api")  # what goes wrong here is told as it is
    try:
        return getattr(api, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted(import_module("tbptt_jax.api").__all__)
