"""An experiment for the tests: its cells can take time, fail, diverge, or never end, and it counts its measurements."""

import os
import time

import numpy as np

from tbptt_jax.lab.experiment import Claim, Experiment, Verdict


def measure(config, key):
    log = os.environ.get("TOY_LOG")
    if log:
        with open(log, "a") as file:
            file.write(f"{config['x']}\n")
    time.sleep(config["pause"])
    if config["kind"] == "raises" and config["x"] == 1:
        raise RuntimeError("this cell always fails")
    if config["kind"] == "never ends" and config["x"] == 1:
        time.sleep(1000)
    if config["kind"] == "dies" and config["x"] == 1 and not os.path.exists(f"{log}.died"):
        open(f"{log}.died", "w").close()
        os._exit(3)
    value = np.random.default_rng(config["x"]).normal()
    if config["kind"] == "diverges" and config["x"] == 1:
        value = float("nan")
    return [{"value": value, "curve": np.arange(3) * value}]


def judge(table):
    return Verdict("reproduced" if table.height == 12 else "undecided", f"{table.height} rows")


experiment = Experiment(
    name="toy",
    source="nowhere",
    axes={"smoke": {"x": list(range(12)), "kind": "fine", "pause": 0.0}},
    measure=measure,
    claims=(Claim("There are twelve.", "nowhere", judge),),
)
