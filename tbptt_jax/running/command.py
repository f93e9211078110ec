"""`tbptt run`: plan, measure what has no record, and conclude."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tbptt_jax.records.cell import Plan, label, that_count, varying
from tbptt_jax.records.committed import as_committed, noted_cap
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
    cap: int | None = None
    """Add seeds until claims are decided, but no more than so many."""
    about: str = ""
    """Only for claims whose sentence holds these words."""
    keep: bool = False
    """Count what committed tables hold, although code has changed since."""
    words: Sequence[str] = field(default=())
    """The words of the command line, for the provenance."""


def run_command(name: str, results: Path, asked: Mapping[str, Any], how: Running) -> int:
    """Measure the cells of a grid, chosen by the words of `lab.Choices`, that have no record; then draw, judge and say
    where it all is."""
    name = str(Path(name).resolve()) if name.endswith(".py") or "/" in name else name
    asked = {**asked, "cap": how.cap}
    turn, open_claims = 0, list[Any]()
    while True:
        status, still_open, planned = one_round(name, results, asked, how, turn, open_claims)
        open_claims = [claim for claim in still_open if how.about.lower() in claim.sentence.lower()]
        if still_open and not open_claims:
            print(f"--about: none of {len(still_open)} open claims has the words {how.about!r}")
        last = max((cell.turn for cell in planned.cells), default=0) if how.cap is not None else 0
        if status or not open_claims or turn >= last:
            return status
        turn = next_turn(planned, turn, last)
        print(f"\nopen claims: {len(open_claims)}; seeds added: {turn}, of {last} at most")


def next_turn(planned: Plan, turn: int, last: int) -> int:
    """How many seeds are added next: a quarter more than there are, and at least one. Of one seed alone the cells would
    wait for each other, and tables and figures would be made anew for each."""
    own = len({cell.columns["seed"] for cell in planned.cells if cell.turn == 0})
    return min(turn + max(1, (own + turn) // 4), last)


def one_round(
    name: str, results: Path, asked: Mapping[str, Any], how: Running, turn: int, open_claims: Sequence[Any]
) -> tuple[int, list[Any], Plan]:
    """Measure a grid, and of the seeds that are added up to a turn what these claims are about. The exit status, the
    claims that more seeds may decide, and the plan of the grid with all seeds that may be added."""
    with hands_of(name, results, how) as hands:
        planned = hands.plan(asked)
        folder = results / planned.experiment
        if how.cap is None and (cap := noted_cap(folder, planned.asked)) is not None:
            asked = {**asked, "cap": cap}  # seeds that were added to this grid are kept
            planned = hands.plan(asked)
        if how.keep:
            planned = as_committed(planned, folder)
        store = Store(folder)
        store.require_writable()
        store.refresh()
        hands.scratch = (store.cells / "scratch").resolve()
        hands.environment = digest(canonical({"note": planned.environment}))
        adopt_committed(store, planned, folder)
        wanted = {
            cell.key
            for cell in planned.cells
            if 0 < cell.turn <= turn and any(claim.concerns(cell.columns) for claim in open_claims)
        }
        plan = planned._replace(cells=that_count(planned.cells, wanted | store.places.keys()))
        names = varying(plan.cells)
        print(f"{plan.experiment}: {len(plan.cells)} cells at {plan.asked}", flush=True)
        say_what_is_left_alone(store, plan, folder)
        notes = [plan.environment, *plan.origins.values()]
        try:
            with progress(len(plan.cells), lambda columns: label(columns, names)) as report:
                counts = run(plan.cells, store, hands, notes, report, fail_fast=how.fail_fast)
        except KeyboardInterrupt:
            print("\nstopped: what was finished is kept, and the same command goes on from there")
            return 130, [], planned
    print(in_words(counts))
    store.refresh()
    for line in of_failures(store, plan):
        print(line)
    if sum(counts.values()) == len(plan.cells):
        from tbptt_jax.commands import conclude

        open_claims = conclude(name, results, asked, plan, store, how.words)
    done = counts["done"] == len(plan.cells)
    return (0 if done else 1), list(open_claims), planned


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


def adopt_committed(store: Store, plan: Any, folder: Path) -> None:
    """Take over what committed tables hold of a plan."""
    lacking = [cell for cell in plan.cells if cell.key not in store.places]
    if lacking and any(folder.glob("**/table.parquet")):
        from tbptt_jax.records.committed import adopt

        if taken := adopt(store, plan, folder):
            print(f"taken over from the committed table: {taken} cells", flush=True)


def say_what_is_left_alone(store: Store, plan: Any, folder: Path) -> None:
    """Before a run: what there is that it does not count."""
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
