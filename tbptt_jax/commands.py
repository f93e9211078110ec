"""What the commands on experiments do after cells are measured: everything between parsed words and printed lines."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from tbptt_jax.errors import UserError
from tbptt_jax.experiments import load as load_experiment
from tbptt_jax.files import require_folder_of, write_atomically
from tbptt_jax.lab.claims import Check, Claim, Judged, Verdict
from tbptt_jax.lab.deciding import seconds_to_decide
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.loading import Loaded, load, remember
from tbptt_jax.lab.table import Head, head, scalars, tidy, write_table
from tbptt_jax.records.cell import Plan, label, varying
from tbptt_jax.records.committed import TABLE, about
from tbptt_jax.records.leases import alive
from tbptt_jax.records.record import STATUSES, Record
from tbptt_jax.records.store import Store, older_records
from tbptt_jax.running.loop import log_of
from tbptt_jax.running.progress import in_time


def conclude(
    name: str, results: Path, asked: Mapping[str, Any], plan: Plan, store: Store, words: Sequence[str]
) -> list[Claim]:
    """Write what is committed of a run into the folder of its grid: table, figures, claims and where they come from. It
    gives the claims that more seeds may decide."""
    experiment, choices = load_experiment(name), Choices(**asked)
    place = choices.place(results / experiment.name)
    remember(results / experiment.name, choices, plan)
    heads: list[Head] = []

    def records() -> Iterator[Record]:
        for record in store.records(cell.key for cell in plan.cells):
            heads.append(head(record))
            yield record

    frame = tidy(experiment, records())
    if frame.is_empty():
        return []
    place.mkdir(parents=True, exist_ok=True)
    write_table(frame, plan, heads, store.notes | plan.origins, place / TABLE)
    figures = draw(experiment, frame, place)
    verdicts = judge(experiment, frame)
    spent = [({**experiment.added, **one.config}, one.seconds) for one in heads if one.status == "done"]
    show_claims(experiment, verdicts, str(choices), spent)
    made = [store.notes[one] for one in sorted({one.environment for one in heads})]
    written = json.dumps([in_words(*both, made) for both in verdicts], indent=1, ensure_ascii=False)
    write_atomically(place / "claims.json", (written + "\n").encode())
    where = {
        "command": " ".join(["tbptt", *words]),
        "asked": plan.asked,
        "cells": len(heads),
        "measured": made,
    }
    where |= {"cap": choices.cap} if choices.cap is not None else {}
    write_atomically(place / "provenance.json", (json.dumps(where, indent=1) + "\n").encode())
    for figure in figures:
        print(f"figure: {figure}")
    return [claim for claim, verdict in verdicts if isinstance(claim, Claim) and verdict.seeds > 0]


def draw(experiment: Experiment, frame: pl.DataFrame, folder: Path, look: Any = None) -> list[Path]:
    """The figures that were drawn; of the others it prints what they lack."""
    if experiment.plot is None or frame.is_empty():
        return []
    from tbptt_jax.plots.style import Look, save

    paths, lacking = save(lambda: experiment.plot(frame), folder, look or Look())  # type: ignore[misc]
    for name, lack in lacking.items():
        print(f"figure {name}: not measured: {lack}")
    return paths


Judgement = tuple[Claim | Judged | Check, Verdict]


def judge(experiment: Experiment, frame: pl.DataFrame) -> list[Judgement]:
    """The verdicts on all claims, and then on all checks."""
    return [(one, one.verdict(frame)) for one in (*experiment.claims, *experiment.checks)]


def in_words(one: Claim | Judged | Check, verdict: Verdict, made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A verdict as it is committed, with the digest of the rule, and whether that is the rule with which all that was
    measured was begun."""
    words: dict[str, Any] = {"check" if isinstance(one, Check) else "claim": one.sentence, "source": one.source}
    words |= {"outcome": verdict.outcome, "measured": verdict.measured}
    if one.rule:
        before = all(one.rule in environment.get("claims", ()) for environment in made)
        words |= {"rule": one.rule, "written": "before its data" if before else "after some of its data"}
    return words


def show_claims(
    experiment: Experiment, verdicts: Sequence[Judgement], asked: str, spent: Sequence[tuple[dict[str, Any], float]]
) -> None:
    """The verdicts, printed as a table; of those that more seeds would decide, how long these would take, by what each
    cell took so far."""
    title = f"{experiment.name}, {asked}"
    shown = Table("claim", "verdict", "measured", title=title, title_justify="left", show_lines=True)
    for one, verdict in verdicts:
        sentence = f"check: {one.sentence}" if isinstance(one, Check) else one.sentence
        more = seconds_to_decide(one, verdict.seeds, spent) if isinstance(one, Claim) else 0.0
        shown.add_row(sentence, verdict.outcome, verdict.measured + (f": {in_time(more)} of a process" if more else ""))
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, markup=False).print(shown)


def status_command(
    name: str, results: Path, choices: Choices | None, watch: float | None = None, as_json: bool = False
) -> int:
    """What is recorded, what runs now, and what does not count and why; again and again with `watch`."""
    experiment = load_experiment(name)
    while True:
        loaded = load(experiment, results, choices)
        print(json.dumps(status_words(loaded))) if as_json else say_status(loaded)
        if watch is None or loaded.counts["done"] == len(loaded.plan.cells):
            return 0
        time.sleep(watch)
        print()


def status_words(loaded: Loaded) -> dict[str, Any]:
    """What is recorded, as plain values: for programs."""
    counts = {status: loaded.counts[status] for status in (*STATUSES, "stale")}
    return {
        "grid": loaded.grid,
        "cells": len(loaded.plan.cells),
        **counts,
        "stale because": dict(loaded.why_stale),
        "read from the table": loaded.in_table,
        "at work": [dict(runner) for runner in alive(loaded.store.cells)],
    }


def say_status(loaded: Loaded) -> None:
    store, cells = loaded.store, loaded.plan.cells
    words = ", ".join(f"{loaded.counts[status]} {status}" for status in (*STATUSES, "stale") if loaded.counts[status])
    print(f"{loaded.grid}, of {len(cells)} cells: " + (words or "nothing recorded yet"))
    if loaded.in_table:
        print(f"  read instead: {loaded.found}")
    names = varying(cells)
    for cell in cells:
        place = store.places.get(cell.key)
        if place is not None and place.status != "done":
            record = store.read(*cell.key)
            print(f"  {place.status}: {label(cell.columns, names)}: {record.reason if record else ''}")
            if place.status == "failed" and (log := log_of(store, cell.identity)):
                print(f"    it said: {log}")
    for why, count in loaded.why_stale.most_common():
        print(f"  stale: {count} cells: {why}")
    for runner in alive(store.cells):
        settled = sum(runner["counts"].values())
        left = f", about {in_time(runner['left'])} left" if runner["left"] > 0 else ""
        print(f"  at work: process {runner['pid']} on {runner['host']}, {settled} cells settled{left}")
        for what, seconds in runner["running"].items():
            print(f"    for {seconds:.0f} s: {what}")
    if store.damaged:
        print(f"  damaged: {len(store.damaged)} records; tbptt verify {loaded.experiment.name} --repair removes them")
    if older := older_records(store.cells.parent):
        print(f"  not counted: {older} records of an older version, which do not say what made them")


def plot_command(
    name: str,
    results: Path,
    choices: Choices | None,
    look: Any = None,
    select: Sequence[str] = (),
    output: Path | None = None,
) -> int:
    """Draw what is recorded, in the look of `plots.style.Look`; of `select`, if it is given, alone."""
    looks_otherwise = look is not None and (look.width, look.font_size) != (None, None)
    if output is None and (select or looks_otherwise):
        option = "--select" if select else "--width, --font-size"
        raise UserError(f"{option}: say by --output where to; the committed figures would be written over")
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output: a folder is needed, and {output} is a file")
    loaded = load(load_experiment(name), results, choices)
    frame = selected(measured(loaded, name), select)
    folder = output or loaded.place
    folder.mkdir(parents=True, exist_ok=True)
    for figure in draw(loaded.experiment, frame, folder, look):
        print(f"figure: {figure}")
    return 0


def selected(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The rows of these methods or series, all of which must be there."""
    if not names:
        return frame
    columns = [name for name in ("method", "series") if name in frame.columns]
    if not columns:
        raise UserError("--select: this table has no methods to choose among")
    there = sorted({value for column in columns for value in frame[column].unique()})
    for name in names:
        if name not in there:
            raise UserError(f"--select: one of {', '.join(there)} is needed, got {name!r}")
    return frame.filter(pl.any_horizontal(pl.col(column).is_in(list(names)) for column in columns))


def claims_command(
    name: str, results: Path, choices: Choices | None, as_json: bool = False, as_latex: bool = False
) -> int:
    loaded = load(load_experiment(name), results, choices)
    if as_latex:
        print(in_latex(judge(loaded.experiment, loaded.frame())))
        return 0
    if as_json:
        made = made_of(loaded)
        rows = [in_words(*both, made) for both in judge(loaded.experiment, loaded.frame())]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    print(loaded.said)
    show_claims(loaded.experiment, judge(loaded.experiment, loaded.frame()), loaded.plan.asked, loaded.spent())
    return 0


def in_latex(verdicts: Sequence[Judgement]) -> str:
    """A table of the claims for a paper that uses booktabs."""
    rows = [
        f"{escaped(one.sentence)} & {escaped(verdict.outcome)} & {escaped(verdict.measured)} \\\\"
        for one, verdict in verdicts
        if not isinstance(one, Check)
    ]
    start = "\\begin{tabular}{p{0.4\\linewidth}lp{0.4\\linewidth}}"
    return "\n".join(
        [start, "\\toprule", "claim & verdict & measured \\\\", "\\midrule", *rows, "\\bottomrule", "\\end{tabular}"]
    )


LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"},
    **{"−": "$-$", "‖": r"$\|$", "²": "$^2$", "∞": r"$\infty$", "α": r"$\alpha$", "τ": r"$\tau$", "σ": r"$\sigma$"},
}


def escaped(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)


def made_of(loaded: Loaded) -> list[dict[str, Any]]:
    """Where and by which claims the records of a grid were measured, that of the committed table if it is read."""
    if loaded.in_table:
        notes = (about(loaded.place / TABLE) or {"notes": {}})["notes"]
        return [note for note in notes.values() if "tbptt_jax" in note] or [{}]
    records = loaded.store.records(cell.key for cell in loaded.plan.cells)
    return [loaded.store.notes[name] for name in sorted({record.environment for record in records})] or [{}]


def export_command(name: str, results: Path, choices: Choices | None, output: Path) -> int:
    writers: Mapping = {".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    if output.suffix not in writers:
        raise UserError(f"--output: a file that ends in .csv or .parquet is needed, got {output}")
    require_folder_of("--output", output)
    whole = measured(load(load_experiment(name), results, choices), name)
    frame = scalars(whole) if output.suffix == ".csv" else whole.select(pl.exclude(pl.Object))
    buffer = BytesIO()
    writers[output.suffix](frame, buffer)
    write_atomically(output, buffer.getvalue())
    left_out = [column for column in whole.columns if column not in frame.columns]
    why = f"; without {', '.join(left_out)}, which such a file cannot hold" if left_out else ""
    print(f"{frame.height} rows: {output}{why}{'; .parquet can' if left_out and output.suffix == '.csv' else ''}")
    return 0


def measured(loaded: Loaded, name: str) -> pl.DataFrame:
    """The table of what was loaded, which must not be empty; it says what it is."""
    frame = loaded.frame()
    if frame.is_empty():
        stale = f" ({loaded.counts['stale']} cells are stale; tbptt status says why)" if loaded.counts["stale"] else ""
        raise UserError(f"{name}: nothing has been measured yet{stale}; start with tbptt run {name}")
    print(loaded.said)
    return frame
