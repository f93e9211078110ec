"""Files: Python code of the user's own, where data sets live, and files that are there whole or not at all."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType


def import_file(what: str, path: Path) -> ModuleType:
    """The module in a file; `what` it is for names the option in errors."""
    if not path.is_file():
        raise ValueError(f"{what}: there is no file {path}")
    name = f"tbptt_jax_user_{path.stem}_{abs(hash(path.resolve())):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by its name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{what}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def data_folder() -> Path:
    """Where data sets are read from and kept: $TBPTT_DATA, or a folder of the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TBPTT_DATA") or cache / "tbptt_jax").resolve()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even if the power fails: beside its place, flushed, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
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
