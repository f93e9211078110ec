"""What the commands on experiments do: everything between parsed words and printed lines."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from tbptt_jax.lab.cluster import run_on_cluster
from tbptt_jax.lab.experiment import Experiment, experiment_path, load_experiment
from tbptt_jax.lab.grid import as_list, cells, identity, label, parse_setting
from tbptt_jax.lab.progress import progress
from tbptt_jax.lab.run import environment, run
from tbptt_jax.lab.store import STATUSES, Record, Store, scalars, table


def chosen_cells(experiment: Experiment, scale: str, settings, estimators, tasks, seeds) -> list[dict]:
    overrides = dict(map(parse_setting, settings))
    if estimators:
        overrides["estimator"] = list(estimators)
    if tasks:
        overrides["task"] = list(tasks)
    if seeds is not None:
        overrides["seeds"] = [seeds]
    return cells(experiment, scale, overrides)


def run_command(
    name,
    results: Path,
    *,
    scale,
    settings,
    estimators,
    tasks=(),
    seeds,
    jobs=None,
    scheduler=None,
    timeout=None,
    fail_fast=False,
    debug=False,
    words=(),
) -> int:
    experiment = load_experiment(name)
    configs = chosen_cells(experiment, scale, settings, estimators, tasks, seeds)
    store = Store(results / experiment.name)
    store.require_writable()
    varying = [axis for axis in configs[0] if len({str(config.get(axis)) for config in configs}) > 1]
    store.write_grid([identity(experiment, config) for config in configs])
    print(f"{experiment.name}: {len(configs)} cells at scale {scale}", flush=True)
    try:
        with progress(len(configs), lambda config: label(config, varying)) as report:
            if jobs or scheduler:
                path = experiment_path(name)
                places = {"jobs": jobs, "scheduler": scheduler, "timeout": timeout, "fail_fast": fail_fast}
                records = run_on_cluster(experiment, path, configs, store, report, **places)
            else:
                records = run(experiment, configs, store, report, timeout=timeout, fail_fast=fail_fast, debug=debug)
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
    conclude(experiment, records, results / experiment.name, words)
    return 0 if counts["done"] == len(configs) else 1


def in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts.get(status))


def conclude(experiment: Experiment, records: list[Record], folder: Path, words) -> None:
    """Table, figures, claims and where they come from, beside the cells: what is committed of a run."""
    frame = tidy(experiment, records)
    if frame.is_empty():
        return
    scalars(frame).write_csv(folder / "rows.csv", float_precision=8)
    figures = draw(experiment, frame, folder)
    verdicts = show_claims(experiment, frame)
    (folder / "claims.json").write_text(json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n")
    where = environment() | {"command": " ".join(["tbptt", *words]), "commit": commit(), "cells": len(records)}
    where.pop("run")
    (folder / "provenance.json").write_text(json.dumps(where, indent=1) + "\n")
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
    if experiment.plot is None or frame.is_empty():
        return []
    from tbptt_jax.plots.style import save

    try:
        return save(partial(experiment.plot, frame), folder)
    except (pl.exceptions.PolarsError, ValueError, IndexError, KeyError, TypeError) as error:
        print(f"figures: what was measured does not suffice: {type(error).__name__}: {error}")
        return []


def show_claims(experiment: Experiment, frame: pl.DataFrame) -> list[dict[str, str]]:
    shown = Table("claim", "verdict", "measured", title=experiment.name, title_justify="left", show_lines=True)
    verdicts = []
    for claim in experiment.claims:
        verdict = claim.verdict(frame)
        verdicts.append({"claim": claim.sentence, "source": claim.source, **verdict._asdict()})
        shown.add_row(claim.sentence, verdict.outcome, verdict.figure)
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False).print(shown)
    return verdicts


def stored(name: str, results: Path) -> tuple[Experiment, list[Record], Path]:
    """An experiment, and the records that there are of the cells of its latest run."""
    experiment = load_experiment(name)
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
    for figure in draw(experiment, needed(tidy(experiment, records), name), folder):
        print(f"figure: {figure}")
    return 0


def claims_command(name: str, results: Path) -> int:
    experiment, records, _ = stored(name, results)
    show_claims(experiment, tidy(experiment, records))
    return 0


def export_command(name: str, results: Path, output: Path) -> int:
    writers: Mapping = {".csv": pl.DataFrame.write_csv, ".parquet": pl.DataFrame.write_parquet}
    if output.suffix not in writers:
        raise ValueError(f"--output: a file that ends in .csv or .parquet is needed, got {output}")
    experiment, records, _ = stored(name, results)
    frame = scalars(needed(tidy(experiment, records), name))
    writers[output.suffix](frame, output)
    print(f"{frame.height} rows: {output}")
    return 0


def needed(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    if frame.is_empty():
        raise ValueError(f"{name}: nothing has been measured yet; start with tbptt run {name}")
    return frame


def commit() -> str:
    """The commit that the code is at, marked where files differ from it; "" outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return done.stdout.strip()
