"""What the runner of a sweep knows of it: cells in plain values, without the objects that they mean."""

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """One cell of a grid."""

    identity: str
    origin: str
    """The digest of what else decides its numbers."""
    axes: dict[str, Any]
    columns: dict[str, Any]
    """What every row of it has in tables beside what was measured."""
    turn: int = 0
    """0: of the grid itself; n: of the n-th seed that may be added until claims are decided."""

    @property
    def key(self) -> tuple[str, str]:
        return self.identity, self.origin


class Plan(NamedTuple):
    """A grid as it was asked for, and what decides its numbers."""

    experiment: str
    version: int
    asked: str
    """What was chosen, in words."""
    cells: list[Cell]
    origins: dict[str, dict[str, Any]]
    environment: dict[str, Any]


def that_count(cells: Iterable[Cell], recorded: Container[tuple[str, str]]) -> list[Cell]:
    """The cells of a grid itself, and those of added seeds that have a record."""
    return [cell for cell in cells if cell.turn == 0 or cell.key in recorded]


def label(columns: dict[str, Any], varying: list[str]) -> str:
    """A cell in a few words: what distinguishes it from the others."""
    return ", ".join(f"{name}={columns[name]}" for name in varying if name in columns)


def varying(cells: Sequence[Cell]) -> list[str]:
    """The axes in which cells differ."""
    names = {name: None for cell in cells[:1] for name in cell.axes}
    return [name for name in names if len({str(cell.axes.get(name)) for cell in cells}) > 1]
