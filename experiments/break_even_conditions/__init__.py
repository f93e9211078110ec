"""What n* depends on: the cell, the spectral radius of W_hh, the number of updates, the length of the sequences.

`break_even` computes n* for tanh networks after 1,000 updates. Here one of these things at a time is changed (the
radius, in untrained networks), at one length of truncation, on a task whose credit reaches far and on text.
"""

from tbptt_jax.experiments.break_even.measure import measure
from tbptt_jax.experiments.break_even_conditions.claims import CLAIMS
from tbptt_jax.experiments.break_even_conditions.conditions import AS_DRAWN, ORDINARY, is_one_change
from tbptt_jax.experiments.break_even_conditions.figures import draw
from tbptt_jax.lab.experiment import Experiment

CONDITIONS = {
    "cell": [ORDINARY.cell, "gru", "lstm"],
    "radius": [AS_DRAWN, 0.6, 1.4],
    "training": [0, 100, ORDINARY.training],
}
TASKS = [f"copy(length={length}, longest=10)" for length in (30, 60, 120)]
TEXTS = [f"time_machine(length={length})" for length in (32, 64, 128)]
AXES = {"estimator": ["randomized", "artbp", "segment", "window"], "tau": 8}
experiment = Experiment(
    name="break_even_conditions",
    source='the lecture: unbiased truncation "doesn\'t actually work any better in practice"; in which networks?',
    summary="how the number of sequences moves with the cell, its radius, its training and its sequences",
    axes={
        "smoke": {"task": TASKS[:2], **CONDITIONS, **AXES}
        | {"cell": "tanh", "radius": AS_DRAWN, "training": [0, ORDINARY.training]}
        | {"hidden": 4, "population": 128, "seed": [0, 1]},
        "default": {"task": [*TASKS, *TEXTS], **CONDITIONS, **AXES}
        | {"hidden": 16, "population": 256, "seed": list(range(100, 112))},
        "paper": {"task": [*TASKS, *TEXTS], **CONDITIONS, **AXES}
        | {"hidden": 64, "population": 1024, "seed": list(range(100, 112))},
    },
    together=("estimator",),
    measure=measure,
    plot=draw,
    claims=CLAIMS,
    makes_sense=is_one_change,
)
