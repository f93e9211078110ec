"""The same cells on a Dask cluster: processes on this machine, or any cluster that is already running.

Dask restarts workers that die and gives their cells to others. Every worker writes its own records, so the results
folder must be one that all of them see; this process only listens.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tbptt_jax.lab.experiment import Experiment, load_experiment
from tbptt_jax.lab.grid import Config, identity
from tbptt_jax.lab.run import RUN, Report, environment, run
from tbptt_jax.lab.store import Record, Store

TRIES = 4  # of a cell whose worker dies


def run_on_cluster(
    experiment: Experiment,
    path: Path,
    configs: list[Config],
    store: Store,
    report: Report,
    *,
    jobs: int | None,
    scheduler: str | None,
    timeout: float | None = None,
    fail_fast: bool = False,
) -> list[Record]:
    """As `run.run`, with `jobs` processes on this machine or on the cluster of a scheduler's address."""
    from distributed import as_completed

    this_run = uuid.uuid4().hex
    where = {"path": str(path.resolve()), "folder": str(store.cells.parent.resolve()), "run_name": this_run}
    records = []
    with client_of(jobs, scheduler) as client:
        tasks = client.map(work, configs, **where, timeout=timeout, pure=False, retries=TRIES)
        waiting = dict(zip((task.key for task in tasks), configs))
        for task in as_completed(tasks):
            config = waiting.pop(task.key)
            if task.status == "finished":
                record, fresh = task.result()
            else:
                reason = f"{TRIES} workers died on it" if task.status == "error" else task.status
                reason = f"{reason}: {type(task.exception()).__name__}: {task.exception()}"
                record, fresh = (
                    Record(identity(experiment, config), config, "failed", reason, [], environment(), 0.0),
                    True,
                )
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
        raise ValueError("--jobs, --scheduler: they need Dask; pip install 'tbptt_jax[cluster]'") from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise ValueError(f"--scheduler: no Dask scheduler answers at {scheduler}") from error
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


def work(config: Config, path: str, folder: str, run_name: str, timeout: float | None) -> tuple[Record, bool]:
    """One cell, in a worker's process: its record, and whether it was computed there."""
    os.environ[RUN] = run_name
    heard = []

    def listen(record, fresh):
        heard.append((record, fresh))

    run(experiment_at(path), [config], Store(Path(folder)), listen, timeout=timeout, give_up=leave)
    return heard[0]


@cache
def experiment_at(path: str) -> Experiment:
    return load_experiment(path)


def leave() -> None:
    """End this worker's process, compiled loop and all: its nanny starts another, which finds the record."""
    os._exit(1)
