"""Which code decides what a function computes: its file, and all that this imports of the package and beside it.

Files are read, not run. An index that only hands names on, such as `import tbptt_jax as tb`, leads to the files of the
names that are used. Comments and docstrings are no code. Other packages are not followed: their versions are recorded.
"""

import ast
import inspect
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from tbptt_jax.records.record import digest

PACKAGE = "tbptt_jax"
ROOT = Path(__file__).resolve().parent.parent
DECIDES_NO_NUMBERS = {  # what carries numbers about: records, figures, words
    *("cli", "commands", "records", "running", "plots", "lab", "benchmarks"),
    *("errors", "files", "named", "version", "by_name", "contract"),
}
DECIDES_ALL_THE_SAME = {f"tbptt_jax.lab.{name}" for name in ("learning", "masked", "online", "protocol")}


def code_of(files: Iterable[Path]) -> dict[str, str]:
    """A digest of the code in each of these files, and in each file that they lead to, by name."""
    found: dict[Path, str] = {}
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            source = parsed(file)
            found[file] = source.digest
            waiting += [target for module, name in source.imports for target in sources(module, name, file.parent)]
    named: dict[str, str] = {}
    for file in sorted(found):  # two files of the user's may have the same name
        name = shown(file)
        named[name] = digest((named[name] + found[file]).encode()) if name in named else found[file]
    return named


def file_of(function: object) -> Path | None:
    """Where a function or a class is written, if that is a file; of a partial, where its function is."""
    function = inspect.unwrap(function.func if isinstance(function, partial) else function)  # type: ignore[arg-type]
    module = sys.modules.get(getattr(function, "__module__", "") or "")
    path = getattr(module, "__file__", None)
    return Path(path) if path and path.endswith(".py") else None


def shown(file: Path) -> str:
    """A file in words that are the same on every machine."""
    for name, folder in (("experiments", experiments()), (PACKAGE, ROOT)):
        if file.is_relative_to(folder):
            return f"{name}/{file.relative_to(folder)}"
    return file.name


@cache
def experiments() -> Path:
    from importlib.util import find_spec

    spec = find_spec(f"{PACKAGE}.experiments")
    return Path(spec.origin).resolve().parent if spec and spec.origin else ROOT / "experiments"


class Source(NamedTuple):
    """A file: a digest of its code, and what it imports: (module, the name that is taken of it; "" for all)."""

    digest: str
    imports: tuple[tuple[str, str], ...]
    hands_on: dict[str, tuple[str, str]]
    """Of an index, where a name comes from."""
    stars: tuple[str, ...]


@cache  # as it was when this process first looked, and imported it
def parsed(file: Path) -> Source:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imports: set[tuple[str, str]] = set()
    hands_on: dict[str, tuple[str, str]] = {}
    stars: list[str] = []
    indices: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = absolute(file, node)
            for alias in node.names:
                if alias.name == "*":
                    stars.append(module)
                else:
                    imports.add((module, alias.name))
                    hands_on[alias.asname or alias.name] = module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == PACKAGE:
                    indices[alias.asname or alias.name] = alias.name
                else:
                    imports.add((alias.name, ""))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in indices:
            imports.add((indices[node.value.id], node.attr))
    return Source(digest(only_code(text, tree).encode()), tuple(sorted(imports)), hands_on, tuple(stars))


def absolute(file: Path, node: ast.ImportFrom) -> str:
    """The module that an import names; a relative one as the path of its folder."""
    if not node.level:
        return node.module or ""
    folder = file.parents[node.level - 1]
    return f"{folder}|{node.module or ''}"


def sources(module: str, name: str, beside: Path) -> Iterator[Path]:
    """The files that decide what `from module import name` gives; none where it is another package's."""
    if not decides(module, name):
        return
    file = located(module, beside)
    if file is None:
        return
    if name and file.name == "__init__.py":
        dotted = f"{module}{'' if module.endswith('|') else '.'}{name}"
        inside = located(dotted, beside)
        if inside is not None:
            if decides(dotted, ""):
                yield inside
            return
        index = parsed(file if module != PACKAGE else ROOT / "api.py")
        if name in index.hands_on:
            yield from sources(*index.hands_on[name], file.parent)
            return
        for star in index.stars:
            if name in parsed(ROOT.joinpath(*star.split(".")[1:], "__init__.py")).hands_on:
                yield from sources(star, name, file.parent)
                return
    yield file


def decides(module: str, name: str) -> bool:
    parts = [*module.partition("|")[2].split("."), name] if "|" in module else [*module.split("."), name]
    if ".".join(parts[:3]) in DECIDES_ALL_THE_SAME:
        return True
    return parts[0] != PACKAGE or not DECIDES_NO_NUMBERS.intersection(parts[1:])


@cache
def located(module: str, beside: Path) -> Path | None:
    """The file of a module of the package, of an experiment, or of a neighbour."""
    if "|" in module:
        folder, _, inside = module.partition("|")
        start, parts = Path(folder), inside.split(".") if inside else []
    elif module.split(".")[0] == PACKAGE:
        parts = module.split(".")[1:]
        start = ROOT
        if parts[:1] == ["experiments"]:
            start, parts = experiments(), parts[1:]
    else:
        start, parts = beside, module.split(".")
    path = start.joinpath(*parts)
    for file in (path.with_suffix(".py") if parts else path, path / "__init__.py"):
        if file.is_file():
            return file.resolve()
    return None


def only_code(text: str, tree: ast.Module) -> str:
    """The text without comments, docstrings and empty lines."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for statement in body:
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
                lines[first] = lines[first].encode()[: statement.col_offset].decode() + "..."
                for number in range(first + 1, last + 1):
                    lines[number] = ""
    blank = {i for i, one in enumerate(lines) if not one.strip()}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.start[0] - 1 not in blank:
            number = token.start[0] - 1
            if lines[number].endswith(token.string):
                lines[number] = lines[number][: -len(token.string)]
    return "\n".join(one.rstrip() for one in lines if one.strip())
