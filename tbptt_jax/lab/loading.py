"""The one way to load what was measured: one grid of one experiment, all made alike, and a line that says which."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tbptt_jax.files import write_atomically
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.origin import differences
from tbptt_jax.lab.plan import plan
from tbptt_jax.lab.table import tidy
from tbptt_jax.records.cell import Plan, that_count
from tbptt_jax.records.committed import TABLE, about, noted_cap
from tbptt_jax.records.store import Store

LATEST = ".latest.json"


class Loaded(NamedTuple):
    """What there is of a grid."""

    experiment: Experiment
    plan: Plan
    place: Path
    """The folder of its table, figures and claims."""
    store: Store
    counts: Counter
    """Cells by status, of those that fit; "stale" ones were made by other code or data, or otherwise."""
    why_stale: Counter
    grid: str
    """Which one this is, in words."""
    found: str
    """Where it was found, in words."""
    in_table: bool
    """Whether it is read from the committed table."""

    @property
    def said(self) -> str:
        """Both, in a line."""
        return f"{self.grid}: {self.found}"

    def frame(self) -> pl.DataFrame:
        """The tidy table."""
        if self.in_table:
            return pl.read_parquet(self.place / TABLE)
        return tidy(self.experiment, self.store.records(cell.key for cell in self.plan.cells))

    def spent(self) -> list[tuple[dict[str, Any], float]]:
        """The columns of each cell that is done, and the seconds that it took."""
        if self.in_table:
            of_table = (about(self.place / TABLE) or {"records": []})["records"]
            found = [(config, seconds) for _, _, status, _, _, seconds, _, config in of_table if status == "done"]
        else:
            records = self.store.records(cell.key for cell in self.plan.cells)
            found = [(record.config, record.seconds) for record in records if record.status == "done"]
        return [({**self.experiment.added, **config}, seconds) for config, seconds in found]


def load(experiment: Experiment, results: Path, choices: Choices | None = None) -> Loaded:
    """What was measured of a grid; of the latest one that was run here if none is given.

    The records that fit count; where the committed table of this very grid holds more cells, that is taken.
    """
    folder = results / experiment.name
    choices, precision, devices = (choices, None, None) if choices else latest(folder) or (Choices(), None, None)
    choices = replace(choices, cap=choices.cap or noted_cap(folder, str(choices)))
    store = Store(folder).refresh()
    planned = plan(experiment, choices, precision, devices)
    planned = planned._replace(cells=that_count(planned.cells, store.places))
    place = choices.place(folder)
    fitting = [cell for cell in planned.cells if cell.key in store.places]
    counts = Counter(store.places[cell.key].status for cell in fitting)
    why = why_stale(store, planned)
    counts["stale"] = sum(why.values())
    committed = about(place / TABLE) if (place / TABLE).is_file() else None
    if committed is not None and committed["asked"] != str(choices):
        committed = None
    unspoken = place == folder and (place / TABLE).is_file() and about(place / TABLE) is None
    in_table = sum(record[2] == "done" for record in committed["records"]) if committed else 0
    if in_table > counts["done"] or (unspoken and not counts["done"]):
        where = True
        words = f"the committed table, {made_by(committed, planned)}"
    else:
        where = False
        words = f"{counts['done']} of {len(planned.cells)} cells"
    return Loaded(experiment, planned, place, store, counts, why, f"{experiment.name}, {choices}", words, where)


def made_by(words: dict[str, Any] | None, planned: Plan) -> str:
    if words is None:
        return "which does not say what made it"
    done = sum(record[2] == "done" for record in words["records"])
    text = f"{done} of {len(planned.cells)} cells"
    now = {cell.identity: cell.origin for cell in planned.cells}
    for identity, origin, *_ in words["records"]:
        if identity in now and origin != now[identity]:
            otherwise = differences(words["notes"].get(origin, {}), planned.origins[now[identity]])
            return f"{text}, measured otherwise than would be done now ({'; '.join(otherwise)})"
    return text


def why_stale(store: Store, planned: Plan) -> Counter:
    """How many cells have only records that do not fit, by reason: what is different now from when the record was made
    that comes nearest."""
    made: dict[str, list[str]] = {}
    for (identity, origin), place in store.places.items():
        if place.status == "done":
            made.setdefault(identity, []).append(origin)

    @cache
    def words(then: str, now: str) -> list[str]:
        return differences(store.notes.get(then, {}), planned.origins[now])

    why: Counter = Counter()
    for cell in planned.cells:
        if cell.key not in store.places and cell.identity in made:
            reasons = sorted((words(then, cell.origin) for then in made[cell.identity]), key=lambda one: len(one))
            why["; ".join(reasons[0])] += 1
    return why


def remember(folder: Path, choices: Choices, planned: Plan) -> None:
    """Note which grid was run last, and how: the other commands speak of it unless told otherwise."""
    origin = next(iter(planned.origins.values()))
    words = {"choices": vars(choices), "precision": origin["precision"], "devices": origin["devices"]}
    write_atomically(folder / "cells" / LATEST, json.dumps(words).encode())


def latest(folder: Path) -> tuple[Choices, str, str] | None:
    try:
        words = json.loads((folder / "cells" / LATEST).read_text())
        return Choices(**words["choices"]), words["precision"], words["devices"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
