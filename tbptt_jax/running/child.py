"""The process that measures: it is told a plan or a cell at a time, over a connection, and answers.

Started as `python -m tbptt_jax.running.child HANDLE`. It ends when whoever started it ends.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tbptt_jax.errors import UserError


def main(handle: int) -> None:
    os.set_inheritable(handle, False)
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt of the terminal is for the supervisor
    with Connection(handle) as connection:
        try:
            serve(connection)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def serve(connection: Connection) -> None:
    """Answer until the other end is closed. A cell's answer is its record, and its large arrays after it."""
    worker = Worker()
    while True:
        asked = json.loads(connection.recv_bytes())
        try:
            if asked["do"] == "plan":
                answer(connection, {"plan": worker.plan(asked["name"], asked["choices"])})
            else:
                config = worker.config(asked)
                answer(connection, {"began": True})
                words, line, arrays = worker.measure(config, asked)
                answer(connection, words | {"arrays": list(arrays)})
                connection.send_bytes(line)
                for content in arrays.values():
                    connection.send_bytes(content)
        except UserError as error:
            answer(connection, {"refused": str(error)})


def answer(connection: Connection, words: dict[str, Any]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send_bytes(json.dumps(words).encode())


class Worker:
    """The experiment, loaded once for all cells."""

    def __init__(self) -> None:
        from functools import cache

        from tbptt_jax.lab.config import choose_estimator
        from tbptt_jax.lab.origin import Origins

        self.origins, self.choose = Origins(), cache(choose_estimator)

    def plan(self, name: str, choices: dict[str, Any]) -> Any:
        from tbptt_jax.experiments import load
        from tbptt_jax.lab.grid import Choices
        from tbptt_jax.lab.plan import plan

        return plan(load(name), Choices(**choices))

    def config(self, asked: dict[str, Any]) -> Any:
        """The cell, as it is read here; refused if that would be another than was asked for."""
        from tbptt_jax.experiments import load
        from tbptt_jax.lab.config import read_config

        config = read_config(load(asked["name"]), asked["axes"], self.choose)
        origin = self.origins.of(config)
        if (config.identity, origin) != (asked["identity"], asked["origin"]):
            raise UserError("code or data changed while the run went on; what was recorded is kept: start it again")
        return config

    def measure(self, config: Any, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes, dict[str, bytes]]:
        """(status and reason, line, large arrays) of a cell."""
        from tbptt_jax.lab.measuring import measured
        from tbptt_jax.lab.origin import lasting
        from tbptt_jax.records.record import encode

        kept = lasting(self.origins.by_digest[asked["origin"]])
        scratch = Path(asked["scratch"]) / f"{config.identity}-{kept}"
        record = measured(config, asked["origin"], asked["environment"], scratch)
        return {"status": record.status, "reason": record.reason, "seconds": record.seconds}, *encode(record)


def die_with_parent() -> None:
    """On Linux the system ends this process with its parent, even in the midst of a compiled loop."""
    if sys.platform == "linux":
        import ctypes

        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")  # rather this one than the supervisor


if __name__ == "__main__":
    main(int(sys.argv[1]))
