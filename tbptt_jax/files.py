"""Python files of the user's own: experiments and estimators that no package installs."""

import importlib.util
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
