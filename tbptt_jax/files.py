"""Files: Python code of the user's own, where data sets live, and files that are there whole or not at all."""

import hashlib
import importlib.util
import os
import secrets
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType

from tbptt_jax.errors import UserError


def import_file(what: str, path: Path) -> ModuleType:
    """The module in a file, or in a folder with an `__init__.py`; `what` it is for names the option in errors.

    It is imported once for all its uses, and anew when the file has changed. It can import the files beside it.
    """
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{what}: there is no file {file}")
    stamp = file.stat()
    return _imported(what, file.resolve(), stamp.st_mtime_ns, stamp.st_size)


@cache
def _imported(what: str, file: Path, *stamp: int) -> ModuleType:
    is_package = file.name == "__init__.py"
    stem, neighbours = (file.parent.name, file.parent.parent) if is_package else (file.stem, file.parent)
    name = f"tbptt_jax_user_{stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    folders = [str(file.parent)] if is_package else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by its name
    if str(neighbours) not in sys.path:
        sys.path.append(str(neighbours))  # at the end: a neighbour never hides a module that is installed
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lines = [
            str(frame.lineno) for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
        ]
        place = f"{file}, line {lines[-1]}," if lines else file
        raise UserError(f"{what}: {place} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def require_folder_of(option: str, path: Path) -> None:
    """An error where the folder that a file is to be written to is not there."""
    if not path.parent.is_dir():
        raise UserError(f"{option}: there is no folder {path.parent}")


def data_folder() -> Path:
    """Where data sets are read from and kept: $TBPTT_DATA, or a folder of the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TBPTT_DATA") or cache / "tbptt_jax").resolve()


def content_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, read once for as long as the file is the same."""
    try:
        stamp = os.stat(path)
        return _content_digest(str(path), stamp.st_mtime_ns, stamp.st_size)
    except OSError as error:
        raise UserError(f"data: {path} cannot be read: {error.strerror}") from error


@cache
def _content_digest(path: str, *stamp: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even if the power fails: beside its place, flushed, renamed."""
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(8)}")
    handle = create(temporary)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create(path: Path) -> int:
    """A handle on a file that was not there before, whatever somebody may have put in its place."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
