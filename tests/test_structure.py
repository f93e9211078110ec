"""The house's rules: imports run downwards only, and the public index is what it says."""

import ast
from pathlib import Path

import tbptt_jax as tb

PACKAGE = Path(tb.__file__).parent
FLOORS = [  # from the top down; a module may import from its own floor and from those below
    ["cli"],
    ["commands", "benchmarks"],
    ["plots"],
    ["lab"],
    ["training"],
    ["tasks"],
    ["analysis"],
    ["estimators"],
    ["gradients"],
    ["model", "cells", "flax_cells", "trigram"],
    ["named"],
    ["devices", "errors", "files", "version"],
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tbptt_jax"):
            yield from ([node.module] if node.module != "tbptt_jax" else [f"tbptt_jax.{a.name}" for a in node.names])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tbptt_jax"))


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        if inside != ("__init__",):
            yield path, inside[0]


def test_imports_run_downwards():
    for path, room in modules():
        for name in imports(path):
            target = name.split(".")[1]
            assert FLOOR[target] >= FLOOR[room], f"{path.relative_to(PACKAGE)} imports {name}, from a floor above"


def test_only_plots_imports_matplotlib():
    for path, room in modules():
        tree = ast.walk(ast.parse(path.read_text()))
        names = {a.name for n in tree if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.module}
        assert room == "plots" or not any(name.startswith("matplotlib") for name in names), path


def test_every_public_name_can_be_had():
    for name in tb.__all__:
        assert getattr(tb, name) is not None
    assert sorted(dir(tb)) == sorted(tb.__all__)
