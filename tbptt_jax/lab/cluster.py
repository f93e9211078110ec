"""The same cells on a Dask cluster: processes on this machine, or any cluster that is already running.

Dask restarts workers that die and gives their cells to others. Every worker writes its own records, so the results
folder must be one that all of them see; this process only listens.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tbptt_jax.errors import UserError
from tbptt_jax.lab.config import Config, read_config
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.run import RUN, Report, environment, run
from tbptt_jax.lab.store import Record, Store

TRIES = 4  # of a cell whose worker dies
PATIENCE = "10s"  # with a scheduler that does not answer


def run_on_cluster(
    load: Callable[[], Experiment],
    configs: list[Config],
    store: Store,
    report: Report,
    *,
    jobs: int | None,
    scheduler: str | None,
    timeout: float | None = None,
    fail_fast: bool = False,
) -> list[Record]:
    """As `run.run`, with `jobs` processes on this machine or on the cluster of a scheduler's address.

    `load()` gives the experiment in a worker, which reads the cells anew."""
    from distributed import as_completed

    this_run = uuid.uuid4().hex
    where = {"load": load, "folder": str(store.cells.parent.resolve()), "run_name": this_run}
    records = []
    with client_of(jobs, scheduler) as client:
        values = [dict(config.axes) for config in configs]
        tasks = client.map(work, values, **where, timeout=timeout, pure=False, retries=TRIES)
        waiting = dict(zip((task.key for task in tasks), configs))
        for task in as_completed(tasks):
            config = waiting.pop(task.key)
            if task.status == "finished":
                record, fresh = task.result()
            else:
                reason = f"{TRIES} workers died on it" if task.status == "error" else task.status
                reason = f"{reason}: {type(task.exception()).__name__}: {task.exception()}"
                record = Record(config.identity, config.columns, "failed", reason, [], environment(), 0.0)
                fresh = True
                store.write(record)
            records.append(record)
            report(record, fresh)
            if fail_fast and record.status == "failed":
                client.cancel(tasks)
                break
    return records


@contextmanager
def client_of(jobs: int | None, scheduler: str | None) -> Iterator:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UserError("--jobs, --scheduler: they need Dask; pip install 'tbptt_jax[cluster]'") from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise UserError(f"--scheduler: no Dask scheduler answers at {scheduler}") from error
        with client:
            yield client
        return
    assert jobs is not None
    # each process takes its share of a GPU's memory, or JAX would give all of it to the first
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / jobs:.3f}")
    with (
        LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def work(
    values: dict[str, Any], load: Callable[[], Experiment], folder: str, run_name: str, timeout: float | None
) -> tuple[Record, bool]:
    """One cell, in a worker's process: its record, and whether it was computed there."""
    os.environ[RUN] = run_name
    heard = []

    def listen(record, fresh):
        heard.append((record, fresh))

    config = read_config(loaded(load), values)
    run([config], Store(Path(folder)), listen, timeout=timeout, give_up=leave)
    return heard[0]


@cache
def loaded(load: Callable[[], Experiment]) -> Experiment:
    """The experiment, once for all cells that a worker gets."""
    return load()


def leave() -> None:
    """End this worker's process, compiled loop and all: its nanny starts another, which finds the record."""
    os._exit(1)
