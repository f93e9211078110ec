"""Measure in this very process, for a debugger: an exception goes through, and what harms the process harms the run."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tbptt_jax.experiments import load
from tbptt_jax.lab.config import read_config
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.measuring import measured
from tbptt_jax.lab.origin import lasting
from tbptt_jax.lab.plan import plan
from tbptt_jax.records.cell import Cell, Plan
from tbptt_jax.records.record import encode
from tbptt_jax.running.loop import Hands, Outcome


class Here(Hands):
    """One cell at a time, when it is given."""

    def __init__(self, name: str, scratch: Path):
        self.experiment, self.scratch = load(name), scratch
        self.done: list[Outcome] = []

    def plan(self, choices: Mapping) -> Plan:
        found = plan(self.experiment, Choices(**choices))
        self.origins = found.origins
        return found

    def free(self) -> int:
        return 1 - len(self.done)

    def give(self, cell: Cell) -> None:
        config = read_config(self.experiment, cell.axes)
        scratch = self.scratch / f"{cell.identity}-{lasting(self.origins[cell.origin])}"
        record = measured(config, cell.origin, self.environment, scratch, debug=True)
        self.done.append(Outcome(cell, record.status, record.reason, record.seconds, *encode(record), ""))

    def running(self) -> list[tuple[Cell, float]]:
        return [(outcome.cell, 0.0) for outcome in self.done]

    def taken_back(self, patience: float) -> Iterable[Outcome]:
        done, self.done = self.done, []
        return done

    def close(self) -> None:
        pass
