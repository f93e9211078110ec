"""What decides a cell's numbers besides the cell: the code, the contents of data files, precision, and devices.

A record is used again only where all of this is as it was; else it is stale, and `differences` says why.
"""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from tbptt_jax.files import content_digest
from tbptt_jax.lab.code import code_of, file_of
from tbptt_jax.lab.config import Config
from tbptt_jax.records.record import canonical, digest

Origin = dict[str, Any]
"""{"code": {file: digest}, "data": {file: SHA-256}, "precision": text, "devices": text}"""


class Origins:
    """Of the cells of a grid, each found once: many cells share theirs."""

    def __init__(self, floats: str | None = None, where: str | None = None) -> None:
        self.precision, self.devices = floats or precision(), where or devices()
        self.by_digest: dict[str, Origin] = {}
        self._known: dict[Any, str] = {}

    def of(self, config: Config) -> str:
        """The digest of what a cell's numbers come from."""
        deciders = (
            config.experiment.measure,
            *(type(one.estimator) for one in config.chosen),
            *(type(task) for task in config.tasks),
        )
        key = deciders, config.tasks
        if key not in self._known:
            origin: Origin = {
                "code": code(deciders),
                "data": data_of(config),
                "precision": self.precision,
                "devices": self.devices,
            }
            name = digest(canonical({"note": origin}))
            self.by_digest[name] = origin
            self._known[key] = name
        return self._known[key]


@cache
def code(deciders: tuple[Any, ...]) -> dict[str, str]:
    files = {file for decider in deciders if (file := file_of(decider)) is not None}
    nowhere = [decider for decider in deciders if file_of(decider) is None and hasattr(decider, "__code__")]
    found = {f"<{one.__qualname__}>": digest(repr_of(one.__code__).encode()) for one in nowhere}
    for one in deciders:
        if isinstance(one, partial):
            found["<arguments>"] = digest(f"{one.args} {sorted(one.keywords.items())}".encode())
    return found | code_of(sorted(files))


def repr_of(compiled: Any) -> str:
    """The code of a function that stands in no file, as text."""
    constants = [repr_of(one) if hasattr(one, "co_code") else repr(one) for one in compiled.co_consts]
    return f"{compiled.co_code.hex()} {compiled.co_names} {constants}"


def data_of(config: Config) -> dict[str, str]:
    """SHA-256 of the contents of the files that a cell reads, by name."""
    found = {Path(path).name: content_digest(path) for path in config.experiment.data}
    for task in config.tasks:
        found |= task.data()
    return found


def precision() -> str:
    """What floats are, and what else of JAX's settings changes numbers."""
    import jax

    words = ["float64" if jax.config.jax_enable_x64 else "float32"]  # type: ignore[attr-defined]
    products = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    random = jax.config.jax_default_prng_impl  # type: ignore[attr-defined]
    words += [f"products {products}"] if products else []
    words += [random] if random != "threefry2x32" else []
    return ", ".join(words)


def devices() -> str:
    """How many of which: sums over samples that are split over devices are rounded otherwise."""
    import jax

    local = jax.local_devices()
    kind = local[0].device_kind
    return f"{len(local)} {local[0].platform}" + (f" ({kind})" if kind.lower() != local[0].platform else "")


def lasting(origin: Origin) -> str:
    """What a half-finished cell must have in common with one that goes on from it: all but the devices."""
    return digest(canonical(origin | {"devices": None}))[:12]


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, what is otherwise than when a record was made."""
    words = []
    for part in ("code", "data"):
        old, new = then.get(part, {}), now.get(part, {})
        changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if changed:
            more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
            words.append(f"{part}: {', '.join(changed[:2])}{more} changed")
    others = [part for part in ("precision", "devices") if then.get(part) != now.get(part)]
    return words + [f"{part}: {then.get(part)}, now {now.get(part)}" for part in others]
