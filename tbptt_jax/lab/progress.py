"""How a run is going: a bar where the output is a terminal, plain lines where it is not."""

import sys
import time
from collections.abc import Callable
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tbptt_jax.lab.store import Record


@contextmanager
def progress(total: int, describe: Callable):
    """A function `report(record, fresh)` to be called for every cell; `describe(columns)` names a cell in few words."""
    console = Console(highlight=False)
    counts = {"failed": 0, "diverged": 0}
    if not console.is_terminal:
        done = 0
        start = time.monotonic()

        def report(record: Record, fresh: bool) -> None:
            nonlocal done
            done += 1
            if fresh or record.status != "done":
                after = f"{time.monotonic() - start:.0f} s" if fresh else "kept"
                cell = f"{done:4}/{total}  {record.status:8}  {describe(record.config)}  ({after})"
                print(f"{cell}  {record.reason}".rstrip())
                sys.stdout.flush()

        yield report
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)

        def report(record: Record, fresh: bool) -> None:
            if record.status in counts:
                counts[record.status] += 1
                bar.console.print(f"{record.status}: {describe(record.config)}: {record.reason}")
            trouble = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
            bar.update(task, advance=1, description=trouble or describe(record.config))

        yield report
