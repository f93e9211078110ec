"""Cells on a Dask cluster: one that is running, or one of our own in a SLURM queue.

A Dask worker measures nothing itself. It keeps a process for this run, which reads the code as it is now, and sends
back what that gives; this side alone writes records. A worker that is lost is replaced and its cell given again; a
scheduler that is lost ends the run, and no cell is blamed for it.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbptt_jax.errors import Stopped, UserError
from tbptt_jax.records.cell import Cell, Plan
from tbptt_jax.running.loop import Hands, Outcome
from tbptt_jax.running.processes import Processes

TRIES = 4  # of a cell whose worker is lost
PATIENCE = "10s"  # with a scheduler that does not answer
WORKERS_WITHIN = 300.0  # seconds for a first worker to come up in a queue


class Cluster(Hands):
    """The workers of a Dask client, a cell at a time each. The plan is made by a process on this machine."""

    def __init__(self, client: Any, name: str, scratch: Path, **limits: Any):
        self.client, self.name, self.scratch = client, name, scratch
        self.limits = {key: limits[key] for key in ("devices", "timeout", "memory")}
        self.run = secrets.token_hex(8)
        self.given: dict[Any, tuple[Cell, float]] = {}
        self.slots, self.counted = 0, -1.0

    def plan(self, choices: Mapping[str, Any]) -> Plan:
        local = Processes(self.name, 1, self.scratch, devices=self.limits["devices"])
        try:
            return local.plan(choices)
        finally:
            local.close()

    def free(self) -> int:
        now = time.monotonic()
        if now - self.counted > 2.0 or self.counted < 0:
            self.slots, self.counted = len(self._asked(self.client.scheduler_info, -1)["workers"]), now
        return self.slots - len(self.given)

    def _asked(self, question: Any, *words: Any) -> Any:
        try:
            return question(*words)
        except Exception as error:
            raise gone(error) from error

    def give(self, cell: Cell) -> None:
        future = self.client.submit(
            *(measure, self.run, self.name, self.environment, str(self.scratch), self.limits, cell),
            pure=False,
            retries=TRIES,
        )
        self.given[future] = cell, time.monotonic()

    def running(self) -> list[tuple[Cell, float]]:
        now = time.monotonic()
        return [(cell, now - since) for cell, since in self.given.values()]

    def taken_back(self, patience: float) -> Iterator[Outcome]:
        deadline = time.monotonic() + patience
        while self.given and not (done := [one for one in self.given if one.status != "pending"]):
            if self.client.status not in ("running", "connecting"):
                raise gone(self.client.status)
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        for future in done if self.given else ():
            cell, since = self.given[future]
            if future.status in ("cancelled", "lost"):
                raise gone(future.status)
            if future.status == "error":
                error = future.exception()
                if isinstance(error, Stopped | UserError):
                    raise Stopped(str(error))
                reason = f"{type(error).__name__}: {error}"
                outcome = Outcome(cell, "failed", reason, time.monotonic() - since, None, {}, "")
            else:
                outcome = self._asked(future.result)
            del self.given[future]
            yield outcome

    def close(self) -> None:
        try:
            self.client.cancel(list(self.given))
            self.client.run(let_go, self.run)
        except Exception:  # the scheduler may be gone; its workers then end what they hold
            pass


def gone(what: Any) -> Stopped:
    return Stopped(
        f"--scheduler: the cluster's scheduler is gone ({what}); what was recorded is kept, and the same command goes "
        "on from there"
    )


HELD: dict[str, Processes] = {}
"""In a Dask worker: its process for each run."""


def measure(run: str, name: str, environment: str, scratch: str, limits: Mapping[str, Any], cell: Cell) -> Outcome:
    """One cell, in a Dask worker."""
    if run not in HELD:
        HELD[run] = Processes(name, 1, Path(scratch), **limits)
        HELD[run].environment = environment
    hands = HELD[run]
    hands.give(cell)
    while True:
        for outcome in hands.taken_back(1.0):
            return outcome


def let_go(run: str) -> None:
    if run in HELD:
        HELD.pop(run).close()


@contextmanager
def client_of(scheduler: str | None, slurm: str | None, jobs: int) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a cluster of our own in a SLURM queue."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("--scheduler, --slurm: they need Dask; pip install 'tbptt_jax[cluster]'") from error
    for name in ("distributed", "distributed.client"):  # the second has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters of it is said in our own words
    if slurm is not None:
        with slurm_cluster(slurm, jobs) as cluster, Client(cluster) as client:
            first_worker(client)
            yield client
        return
    assert scheduler is not None
    try:
        client = Client(scheduler, timeout=PATIENCE, security=credentials(scheduler))
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler: no Dask scheduler answers at {scheduler}") from error
    with client:
        yield client


def credentials(scheduler: str) -> Any:
    """For an address tls://..., those that Dask's own configuration names."""
    from distributed.security import Security

    return Security() if scheduler.startswith("tls://") else None


@contextmanager
def slurm_cluster(words: str, jobs: int) -> Iterator[Any]:
    """`jobs` workers in a SLURM queue; `words` are `dask_jobqueue.SLURMCluster`'s, such as "queue=gpu,cores=4".

    Dask asks nobody who he is: the cluster speaks TLS with credentials that are thrown away with it.
    """
    options: Any = {"cores": 1, "processes": 1, "memory": "4GB"} | slurm_options(words)
    try:
        from dask_jobqueue import SLURMCluster
        from distributed.security import Security
    except ImportError as error:
        raise UserError("--slurm: it needs dask-jobqueue; pip install 'tbptt_jax[cluster]'") from error
    folder = Path(options.pop("shared_temp_directory", Path.home() / ".tbptt_jax"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        cluster = SLURMCluster(
            **options,
            security=Security.temporary(),
            shared_temp_directory=str(folder),
            scheduler_options={"dashboard": False, "dashboard_address": None},
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"--slurm: {words!r} does not fit dask_jobqueue.SLURMCluster: {error}") from error
    with cluster:
        cluster.scale(jobs=jobs)
        yield cluster


def slurm_options(words: str) -> dict[str, Any]:
    """ "partition=gpu,cores=4,memory=8GB" as SLURMCluster takes it."""
    found: dict[str, Any] = {}
    for word in words.split(","):
        name, equals, value = word.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UserError(f'--slurm: words like "partition=gpu,cores=4" are needed, got {word!r}')
        name = {"partition": "queue"}.get(name.strip(), name.strip())
        found[name] = int(value) if value.strip().isdigit() else value.strip()
    return found


def first_worker(client: Any) -> None:
    from dask.distributed import TimeoutError as TooLate

    try:
        client.wait_for_workers(1, timeout=WORKERS_WITHIN)
    except (TooLate, TimeoutError) as error:
        raise Stopped(f"--slurm: no worker came up within {WORKERS_WITHIN:.0f} s; is the queue full?") from error
