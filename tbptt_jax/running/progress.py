"""How a run is going: a bar where the output is a terminal, plain lines where it is not."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tbptt_jax.running.loop import Progress

SAY_EVERY = 60.0  # seconds, where nothing else happens and the output is no terminal


@contextmanager
def progress(total: int, describe: Callable[[dict[str, Any]], str]) -> Iterator[Callable[[Progress], None]]:
    """A function that is told of every step of a run; `describe(columns)` names a cell in few words."""
    console = Console(highlight=False)
    if not console.is_terminal:
        yield Lines(total, describe)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        counts: Counter = Counter()

        def report(step: Progress) -> None:
            if step.cell is not None:
                counts[step.status] += 1
                if step.status != "done" and step.fresh:
                    bar.console.print(escape(f"{step.status}: {describe(step.cell.columns)}: {step.reason}"))
            trouble = ", ".join(f"{counts[name]} {name}" for name in ("diverged", "failed") if counts[name])
            words = " · ".join(word for word in (trouble, now_running(step, describe)) if word)
            bar.update(task, advance=step.cell is not None, description=escape(words))

        yield report


class Lines:
    """A line for every cell that was measured, and one now and then while none ends."""

    def __init__(self, total: int, describe: Callable[[dict[str, Any]], str]):
        self.total, self.describe = total, describe
        self.done = self.kept = 0
        self.start = self.spoken = time.monotonic()

    def __call__(self, step: Progress) -> None:
        now = time.monotonic()
        if step.cell is None:
            if now - self.spoken > SAY_EVERY:
                self.spoken = now
                print(f"{self.done:4}/{self.total}  {now_running(step, self.describe)}", flush=True)
            return
        self.done += 1
        if not step.fresh:
            self.kept += 1
            return
        after = f"{now - self.start:.0f} s" + (f", {in_time(step.left)} left" if step.left > 10 else "")
        words = f"{self.done:4}/{self.total}  {step.status:8}  {self.describe(step.cell.columns)}  ({after})"
        print(f"{words}  {step.reason}".rstrip(), flush=True)
        self.spoken = now


def in_time(seconds: float) -> str:
    """Seconds as somebody says them who waits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def now_running(step: Progress, describe: Callable[[dict[str, Any]], str]) -> str:
    """What runs, and for how long: the longest of all."""
    if not step.running:
        return ""
    cell, seconds = max(step.running, key=lambda one: one[1])
    more = f" and {len(step.running) - 1} more" if len(step.running) > 1 else ""
    return f"{describe(cell.columns)} for {seconds:.0f} s{more}"
