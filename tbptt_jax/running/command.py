"""`tbptt run`: plan, measure what has no record, and conclude."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tbptt_jax.records.cell import label, varying
from tbptt_jax.records.record import STATUSES, canonical, digest
from tbptt_jax.records.store import Store, older_records
from tbptt_jax.running.loop import Hands, log_of, run
from tbptt_jax.running.processes import Processes
from tbptt_jax.running.progress import progress


@dataclass(frozen=True)
class Running:
    """How the cells of a run are measured."""

    jobs: int = 1
    scheduler: str | None = None
    slurm: str | None = None
    devices: int | None = None
    timeout: float | None = None
    memory: int | None = None
    fail_fast: bool = False
    debug: bool = False
    words: Sequence[str] = field(default=())
    """The words of the command line, for the provenance."""


def run_command(name: str, results: Path, asked: Mapping[str, Any], how: Running) -> int:
    """Measure the cells of a grid, chosen by the words of `lab.Choices`, that have no record; then draw, judge and say
    where it all is."""
    name = str(Path(name).resolve()) if name.endswith(".py") or "/" in name else name
    with hands_of(name, results, how) as hands:
        plan = hands.plan(asked)
        folder = results / plan.experiment
        store = Store(folder)
        store.require_writable()
        store.refresh()
        hands.scratch = (store.cells / "scratch").resolve()
        hands.environment = digest(canonical({"note": plan.environment}))
        names = varying(plan.cells)
        print(f"{plan.experiment}: {len(plan.cells)} cells at {plan.asked}", flush=True)
        say_what_is_left_alone(store, plan, folder)
        notes = [plan.environment, *plan.origins.values()]
        try:
            with progress(len(plan.cells), lambda columns: label(columns, names)) as report:
                counts = run(plan.cells, store, hands, notes, report, fail_fast=how.fail_fast)
        except KeyboardInterrupt:
            print("\nstopped: what was finished is kept, and the same command goes on from there")
            return 130
    print(in_words(counts))
    store.refresh()
    for line in of_failures(store, plan):
        print(line)
    if sum(counts.values()) == len(plan.cells):
        from tbptt_jax.commands import conclude

        conclude(name, results, asked, plan, store, how.words)
    return 0 if counts["done"] == len(plan.cells) else 1


@contextmanager
def hands_of(name: str, results: Path, how: Running) -> Iterator[Hands]:
    """Who measures."""
    scratch = results / "scratch"
    limits: dict[str, Any] = {"devices": how.devices, "timeout": how.timeout, "memory": how.memory}
    if how.debug:
        from tbptt_jax.running.here import Here

        yield Here(name, scratch)
    elif how.scheduler is not None or how.slurm is not None:
        from tbptt_jax.running.cluster import Cluster, client_of

        with client_of(how.scheduler, how.slurm, how.jobs) as client:
            yield Cluster(client, name, scratch, **limits)
    else:
        hands = Processes(name, how.jobs, scratch, **limits)
        try:
            yield hands
        finally:
            hands.close()


def say_what_is_left_alone(store: Store, plan: Any, folder: Path) -> None:
    """Before a run: what there is that it does not count, and what it takes over."""
    lacking = [cell for cell in plan.cells if cell.key not in store.places]
    if lacking and any(folder.glob("**/table.parquet")):
        from tbptt_jax.records.committed import adopt

        if taken := adopt(store, plan, folder):
            print(f"taken over from the committed table: {taken} cells", flush=True)
    known = {identity for (identity, _), place in store.places.items() if place.status == "done"}
    stale = sum(cell.identity in known for cell in plan.cells if cell.key not in store.places)
    if stale:
        print(f"stale: {stale} cells were measured by other code, data or devices; tbptt status says why", flush=True)
    if older := older_records(folder):
        print(f"not counted: {older} records of an older version, which do not say what made them", flush=True)
    if store.damaged:
        print(f"damaged: {len(store.damaged)} records are measured again; tbptt verify lists them", flush=True)


def of_failures(store: Store, plan: Any) -> list[str]:
    """Where it is written what failed cells said."""
    failed = [cell for cell in plan.cells if (place := store.places.get(cell.key)) and place.status == "failed"]
    logs = [path for cell in failed if (path := log_of(store, cell.identity))]
    return [f"what failed cells said: {logs[0].parent}"] if logs else []


def in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts.get(status))
