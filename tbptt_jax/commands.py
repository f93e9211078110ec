"""What the commands on experiments do: everything between parsed words and printed lines."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from tbptt_jax import experiments
from tbptt_jax.errors import UserError
from tbptt_jax.files import write_atomically
from tbptt_jax.lab.cluster import run_on_cluster
from tbptt_jax.lab.config import label
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices, as_list, cells
from tbptt_jax.lab.progress import progress
from tbptt_jax.lab.run import environment, run
from tbptt_jax.lab.store import STATUSES, Record, Store, scalars, table, write_table


@dataclass(frozen=True)
class Loading:
    """How a worker's process finds an experiment again: by its name, or by the path of its file."""

    name: str

    def __call__(self) -> Experiment:
        return experiments.load(self.name)


@dataclass(frozen=True)
class Running:
    """How the cells of a run are computed."""

    jobs: int | None = None
    scheduler: str | None = None
    timeout: float | None = None
    fail_fast: bool = False
    debug: bool = False
    words: Sequence[str] = field(default=())
    """The words of the command line, for the provenance."""


def run_command(name: str, results: Path, choices: Choices, how: Running) -> int:
    """Compute the cells that have no record, then draw, judge and say where it all is."""
    experiment = experiments.load(name)
    configs = cells(experiment, choices)
    store = Store(results / experiment.name)
    store.require_writable()
    varying = [axis for axis in configs[0] if len({str(config.get(axis)) for config in configs}) > 1]
    store.write_grid([config.identity for config in configs])
    print(f"{experiment.name}: {len(configs)} cells at scale {choices.scale}", flush=True)
    limits: Any = {"timeout": how.timeout, "fail_fast": how.fail_fast}
    try:
        with progress(len(configs), lambda columns: label(columns, varying)) as report:
            if how.jobs or how.scheduler:
                load = Loading(str(Path(name).resolve()) if name.endswith(".py") or "/" in name else name)
                records = run_on_cluster(load, configs, store, report, jobs=how.jobs, scheduler=how.scheduler, **limits)
            else:
                records = run(configs, store, report, debug=how.debug, **limits)
    except KeyboardInterrupt:
        print("\nstopped: what was finished is kept, and the same command goes on from there")
        return 130
    finally:
        if store.damaged():
            print(
                f"set aside as damaged, and computed again: {', '.join(store.damaged())} in {store.cells / 'damaged'}"
            )
    counts = Counter(record.status for record in records)
    print(in_words(counts))
    conclude(experiment, records, results / experiment.name, how.words)
    return 0 if counts["done"] == len(configs) else 1


def in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts.get(status))


def conclude(experiment: Experiment, records: list[Record], folder: Path, words: Sequence[str]) -> None:
    """Table, figures, claims and where they come from, beside the cells: what is committed of a run."""
    frame = tidy(experiment, records)
    if frame.is_empty():
        return
    write_table(frame, folder)
    figures = draw(experiment, frame, folder)
    verdicts = show_claims(experiment, frame)
    write_atomically(folder / "claims.json", (json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n").encode())
    where = environment() | {"command": " ".join(["tbptt", *words]), "commit": commit(), "cells": len(records)}
    where.pop("run")
    write_atomically(folder / "provenance.json", (json.dumps(where, indent=1) + "\n").encode())
    for figure in figures:
        print(f"figure: {figure}")


def tidy(experiment: Experiment, records: list[Record]) -> pl.DataFrame:
    """The table of the records, with a column for every axis of the experiment, empty where no cell has it."""
    frame = table(sorted(records, key=lambda record: json.dumps(record.config, sort_keys=True)))
    axes = {name: as_list(values) for scale in experiment.axes.values() for name, values in scale.items()}
    missing = {name: pl.String if isinstance(values[0], str) else pl.Int64 for name, values in axes.items()}
    columns = [pl.lit(None, kind).alias(name) for name, kind in missing.items() if name not in frame.columns]
    return frame if frame.is_empty() else frame.with_columns(columns)


def draw(experiment: Experiment, frame: pl.DataFrame, folder: Path) -> list[Path]:
    """The figures that were drawn; of the others it prints what they lack."""
    if experiment.plot is None or frame.is_empty():
        return []
    from tbptt_jax.plots.style import save

    paths, lacking = save(lambda: experiment.plot(frame), folder)  # type: ignore[misc]
    for name, lack in lacking.items():
        print(f"figure {name}: not measured: {lack}")
    return paths


def show_claims(experiment: Experiment, frame: pl.DataFrame) -> list[dict[str, str]]:
    """The verdicts, printed as a table."""
    shown = Table("claim", "verdict", "measured", title=experiment.name, title_justify="left", show_lines=True)
    verdicts = []
    for claim in experiment.claims:
        verdict = claim.verdict(frame)
        verdicts.append({"claim": claim.sentence, "source": claim.source, **verdict._asdict()})
        shown.add_row(claim.sentence, verdict.outcome, verdict.measured)
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, markup=False).print(shown)
    return verdicts


def stored(name: str, results: Path) -> tuple[Experiment, list[Record], Path]:
    """An experiment, and the records that there are of the cells of its latest run."""
    experiment = experiments.load(name)
    store = Store(results / experiment.name)
    records = [record for record in map(store.read, store.grid()) if record is not None]
    return experiment, records, results / experiment.name


def status_command(name: str, results: Path) -> int:
    experiment, records, folder = stored(name, results)
    counts = Counter(record.status for record in records)
    print(f"{experiment.name}, of {len(Store(folder).grid())} cells: " + (in_words(counts) or "nothing recorded yet"))
    for record in records:
        if record.status != "done":
            print(f"  {record.status}: {label(record.config, record.config)}: {record.reason}")
    if damaged := Store(folder).damaged():
        print(f"  set aside as damaged: {', '.join(damaged)}")
    return 0


def plot_command(name: str, results: Path) -> int:
    experiment, records, folder = stored(name, results)
    for figure in draw(experiment, measured(tidy(experiment, records), name), folder):
        print(f"figure: {figure}")
    return 0


def claims_command(name: str, results: Path) -> int:
    experiment, records, _ = stored(name, results)
    show_claims(experiment, tidy(experiment, records))
    return 0


def export_command(name: str, results: Path, output: Path) -> int:
    writers: Mapping = {".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    if output.suffix not in writers:
        raise UserError(f"--output: a file that ends in .csv or .parquet is needed, got {output}")
    experiment, records, _ = stored(name, results)
    frame = scalars(measured(tidy(experiment, records), name))
    writers[output.suffix](frame, output)
    print(f"{frame.height} rows: {output}")
    return 0


def measured(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The table, which must not be empty."""
    if frame.is_empty():
        raise UserError(f"{name}: nothing has been measured yet; start with tbptt run {name}")
    return frame


def commit() -> str:
    """The commit that the code is at, marked where files differ from it; "" outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return done.stdout.strip()
