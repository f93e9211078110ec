"""What truncated backpropagation through time costs and what it buys: gradient estimators for recurrent models.

`import tbptt_jax as tb`: the public names are those that the stub `__init__.pyi` imports, and nothing else. A name is
imported when it is first used, so that a command which needs no JAX does not wait for it.
"""

import ast
from importlib import import_module
from pathlib import Path

_HOMES = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    is_module = (Path(__file__).parent.joinpath(*home.split(".")[1:], name)).with_suffix(".py").is_file()
    value = import_module(f"{home}.{name}") if home == __name__ or is_module else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
