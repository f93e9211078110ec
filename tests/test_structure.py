"""The house's rules: imports run downwards, indices know their folders, JAX's private names are in one place."""

import ast
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

import tbptt_jax as tb
from tbptt_jax import cells, diagonal_cells, experiments
from tbptt_jax.analysis.lengths import Contributions
from tbptt_jax.cells import Cell
from tbptt_jax.estimators.scheduled import drawn
from tbptt_jax.networks import KNOWN_CELLS

PACKAGE = Path(sys.modules["tbptt_jax"].__file__).parent
EXPERIMENTS = Path(experiments.__file__).parent
FLOORS = [  # from the top down; a module may import from its own floor and from those below
    ["cli"],
    ["api"],
    [
        "results",
        "report",
        "running",
        "commands",
        "benchmarks",
        "catalogue",
        "comparing",
        "completion",
        "starting",
        "words",
    ],
    ["experiments"],
    ["plots"],
    ["lab"],
    ["training", "speaking", "contracts"],
    ["tasks"],
    ["analysis"],
    ["estimators"],
    ["critics"],
    ["programs"],
    ["gradients"],
    ["networks", "cells", "diagonal_cells", "flax_cells", "baseline", "ngrams"],
    ["noise"],
    ["forward"],
    ["models"],
    ["named"],
    ["records"],
    ["decompositions", "devices", "errors", "files", "jax_internals", "leaves", "pytree", "version"],
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
PUBLIC_FACE = {"experiments"}  # they use the package as a user does: `import tbptt_jax as tb`


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tbptt_jax"):
            yield from ([node.module] if node.module != "tbptt_jax" else [f"tbptt_jax.{a.name}" for a in node.names])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tbptt_jax"))


def modules():
    """Every file of ours, and the room that it stands in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        if inside != ("__init__",):
            yield path, inside[0]
    for path in sorted(EXPERIMENTS.rglob("*.py")):
        yield path, "experiments"


def test_imports_run_downwards():
    for path, room in modules():
        for name in imports(path):
            if name == "tbptt_jax" and room in PUBLIC_FACE:
                continue
            target = name.split(".")[1]
            assert FLOOR[target] >= FLOOR[room], f"{path} imports {name}, from a floor above"


def test_the_two_engines_do_not_know_each_other():
    for path, _ in modules():
        for mine, other in (("cuts", "influence"), ("influence", "cuts")):
            if path.parent.name == mine:
                assert not any(name.startswith(f"tbptt_jax.gradients.{other}") for name in imports(path)), path


def test_only_figures_import_matplotlib():
    for path, room in modules():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
        draws = room == "plots" or path.name == "figures.py"
        assert draws or not any(name.startswith("matplotlib") for name in names), path


def test_private_names_of_jax_are_in_one_file():
    tests = set(Path(__file__).parent.rglob("*.py")) - {Path(__file__)}
    for path in (*(path for path, _ in modules()), *tests):
        text = path.read_text()
        if path.name != "jax_internals.py":
            for name in ("jax.core", "jax.extend", "jax.interpreters", "jax._src", "manual_axis_type"):
                assert name not in text, f"{path} uses {name}"


def test_every_public_name_can_be_had_and_no_other():
    assert {"rnn", "scan", "Segment", "Recall", "train", "__version__"} <= set(dir(tb))
    others = {"jaxtyping"}  # what the tests' own hook brings along
    for name in set(dir(tb)) - others - {"__version__"}:
        value = getattr(tb, name)
        assert getattr(value, "__module__", value.__name__).startswith("tbptt_jax"), name
    with pytest.raises(AttributeError, match="has no attribute 'segmnt'"):
        _ = tb.segmnt


def test_every_cell_that_has_a_name_is_known_by_it():
    written = {}
    for module in (cells, diagonal_cells):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Cell) and value.__module__ == module.__name__:
                written |= {value.name: value} if value.__dict__.get("name") else {}
    assert written == KNOWN_CELLS


def test_what_goes_wrong_in_the_index_is_told_as_it_is(monkeypatch):
    def broken(name):
        raise AttributeError("a library has changed")

    monkeypatch.setattr(tb, "import_module", broken)
    with pytest.raises(AttributeError, match="a library has changed"):
        _ = tb.no_name_of_ours


@pytest.mark.parametrize("room, base", [("estimators", "Estimator"), ("tasks", "Task")])
def test_the_index_of_a_room_knows_every_class_in_its_folder(room, base):
    """A class that is written and not indexed, or indexed and not written there, is named."""
    index = import_module(f"tbptt_jax.{room}")
    kind = getattr(index, base)
    written = set()
    for path in (PACKAGE / room).glob("*.py"):
        module = import_module(f"tbptt_jax.{room}.{path.stem}" if path.stem != "__init__" else f"tbptt_jax.{room}")
        for value in vars(module).values():
            here = isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
            if here and not inspect.isabstract(value):
                written.add(value)
    indexed = {value for value in vars(index).values() if isinstance(value, type) and issubclass(value, kind)}
    assert {v for v in indexed if not inspect.isabstract(v)} == written
    assert {v for v in indexed if v.__name__ != base} <= {getattr(tb, v.__name__) for v in indexed}


def test_ordinary_imports_work_and_packages_are_packages():
    from tbptt_jax.estimators import Segment
    from tbptt_jax.tasks import Copy

    assert Segment is tb.Segment and Copy is tb.Copy
    assert not callable(import_module("tbptt_jax.estimators")) and not callable(import_module("tbptt_jax.tasks"))


def test_the_shapes_of_annotated_arrays_are_checked_while_tests_run():
    """Without this, annotations would be comments."""
    keeps = jnp.ones((3, 2))
    with pytest.raises(jaxtyping.TypeCheckError):
        drawn(jax.random.key(0), keeps, 2)
    with pytest.raises(jaxtyping.TypeCheckError):
        Contributions(jnp.ones((2, 2, 1)), jnp.zeros(())).variance(keeps)


def test_functions_say_what_they_take():
    """Those within functions need not."""
    for path, _ in modules():
        waiting = list(ast.parse(path.read_text()).body)
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.FunctionDef):
                args = node.args
                every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
                bare = [arg.arg for arg in every if arg.annotation is None and arg.arg not in ("self", "cls")]
                assert not bare, f"{path}: {node.name} takes {bare}"
            elif isinstance(node, ast.ClassDef):
                waiting += node.body


def test_no_figure_takes_a_text_apart():
    """What stands before the arguments of a task or an estimator is read in one place, `name_in`."""
    rooms = PACKAGE / "plots", EXPERIMENTS
    apart = re.compile(r"""(partition|split)\(["']\(["']\)""")
    found = [path.name for room in rooms for path in room.rglob("*.py") if apart.search(path.read_text())]
    assert not found
