"""An experiment for the tests: its cells can take time and go wrong in many ways, and it counts its measurements."""

import ctypes
import os
import subprocess
import sys
import time
from decimal import Decimal

import jax.numpy as jnp
import numpy as np

from tbptt_jax.lab.claims import Judged, Verdict
from tbptt_jax.lab.experiment import Experiment

UNSTORABLE = {
    "decimal": lambda: [{"value": Decimal("0.1")}],
    "generator": lambda: ({"value": i} for i in range(2)),
    "bfloat16": lambda: [{"value": jnp.ones(3, jnp.bfloat16)}],
    "an axis": lambda: [{"pause": -1.0}],
    "huge": lambda: [{"value": 10**300}],
}


def hold_the_gil(seconds):
    """As a library does that computes in C and does not let go of Python's lock."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def go_wrong(kind, log):
    """What a cell can do to its process."""
    if kind == "raises":
        raise RuntimeError("this cell always fails [bold]and says so[/bold]")
    if kind == "never ends":
        time.sleep(1000)
    if kind == "holds the lock":
        hold_the_gil(900)
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "killed":
        os.kill(os.getpid(), 9)
    if kind == "leaves":
        os._exit(0)
    if kind == "exits":
        sys.exit(0)
    if kind == "eats":
        print("a last word", flush=True)
        eaten = []
        while True:
            eaten.append(np.ones(1 << 22))
    if kind == "has children":
        child = subprocess.Popen(["sleep", "1000"])
        with open(f"{log}.child", "w") as file:
            file.write(str(child.pid))
        time.sleep(1000)


def measure(config, key):
    log = os.environ.get("TOY_LOG")
    if log:
        with open(log, "a") as file:
            file.write(f"{config['x']}\n")
    time.sleep(config["pause"])
    if config["x"] == 1:
        if config["kind"] in UNSTORABLE:
            return UNSTORABLE[config["kind"]]()
        go_wrong(config["kind"], log)
    value = np.random.default_rng(config["x"]).normal()
    if config["kind"] == "diverges" and config["x"] == 1:
        value = float("nan")
    row = {"value": value, "curve": np.arange(3) * value, "even": np.bool_(config["x"] % 2 == 0)}
    return [row | {"tiny": 1e-300} if config["x"] == 3 else row]


def judge(table):
    return Verdict("reproduced" if table.height == 12 else "undecided", f"{table.height} rows")


experiment = Experiment(
    name="toy",
    source="nowhere",
    axes={
        "smoke": {"x": list(range(12)), "kind": "fine", "pause": 0.0},
        "default": {"x": list(range(14)), "kind": "fine", "pause": 0.0},
    },
    measure=measure,
    claims=(Judged("There are twelve.", "nowhere", judge),),
)
