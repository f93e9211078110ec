"""`tbptt compare`: what moved between two folders of results."""

import json
from pathlib import Path
from typing import Any

from tbptt_jax.errors import UserError

CLAIMS = "claims.json"


def compare_command(first: Path, second: Path) -> int:
    """Verdicts and figures that are other ones, experiment by experiment; the exit status is 0 either way."""
    for folder in (first, second):
        if not folder.is_dir():
            raise UserError(f"compare: there is no folder {folder}")
    places = [{path.parent.relative_to(folder) for path in folder.rglob(CLAIMS)} for folder in (first, second)]
    moved = 0
    for place in sorted(places[0] | places[1]):
        lines = compared(first / place, second / place)
        moved += bool(lines)
        for line in [str(place), *(f"  {line}" for line in lines)] if lines else []:
            print(line)
    print(f"{len(places[0] | places[1])} grids, {moved} of them moved")
    return 0


def compared(first: Path, second: Path) -> list[str]:
    """What is otherwise in one grid."""
    for one, other in ((first, second), (second, first)):
        if not (one / CLAIMS).is_file():
            return [f"only in {other}"]
    before, after = (verdicts(folder) for folder in (first, second))
    lines = []
    for sentence in before | after:
        outcomes = [found.get(sentence, {}).get("outcome", "not judged") for found in (before, after)]
        if outcomes[0] != outcomes[1]:
            lines.append(f"{outcomes[0]} → {outcomes[1]}: {sentence}")
        elif before[sentence]["measured"] != after[sentence]["measured"]:
            lines.append(f"{outcomes[0]}, by other numbers: {sentence}")
    figures = sorted({path.name for folder in (first, second) for path in folder.glob("*.svg")})
    return lines + [f"figure {name}" for name in figures if content(first / name) != content(second / name)]


def verdicts(folder: Path) -> dict[str, Any]:
    rows = json.loads((folder / CLAIMS).read_text())
    return {row.get("claim", row.get("check")): row for row in rows}


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
