"""How long should segments be? The law of lengths of least variance, against equal gates, ARTBP and the best places.

A cut may depend on the age of its segment (ARTBP, `by_age`) or on the step (`optimal`). All truncations here keep the
same number of states, either on average over the steps or in the longest stretch. ARTBP cuts less readily as a segment
grows; `by_age`, made of a length, never cuts in its first half and then cuts as readily at every age. The best lengths
are those that `tb.exact.optimal_cuts` finds on other sequences than those that are measured. Every variance is exact.
"""

from tbptt_jax.experiments.best_lengths.claims import CLAIMS, OURS
from tbptt_jax.experiments.best_lengths.figures import draw
from tbptt_jax.experiments.best_lengths.measure import measure
from tbptt_jax.experiments.break_even_memory.measure import can_be_kept
from tbptt_jax.lab.experiment import Experiment

AXES = {"cell": "tanh", "estimator": ["randomized", "artbp", "by_age", "optimal"], "memory": ["averaged", "longest"]}
TASKS = ["copy(length=60, longest=10)", "recall(distance=20)", "time_machine(length=64)"]
WHOLE = AXES | {"task": TASKS, "seed": list(range(300, 310)), "tau": [8, 16]}
experiment = Experiment(
    name="best_lengths",
    source=OURS,
    summary="how long segments should be: the law of lengths of least variance at equal memory",
    axes={
        "smoke": AXES
        | {"task": "copy(length=20, longest=4)", "seed": [0, 1], "tau": 8}
        | {"training": 100, "hidden": 4, "sequences": 8, "chunks": 10},
        "default": WHOLE | {"training": 1000, "hidden": 16, "sequences": 32, "chunks": 300},
        "paper": WHOLE | {"tau": [4, 8, 16, 32], "training": 10_000, "hidden": 32, "sequences": 128, "chunks": 1000},
    },
    together=("estimator",),
    makes_sense=can_be_kept,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
