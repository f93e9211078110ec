"""Which truncation pays at equal memory? n* of every unbiased one against every biased one that keeps as many states.

States are counted as the longest stretch that a cut, or a loss, leaves alive (`tb.exact.longest_stretch`), and not as
the passes of this package keep them (`tb.cost`). Of stretches that are drawn the longest has twice the mean and more.
Here all truncations are as long as lets them keep so many states, on average: equal gates, ARTBP, and gates that cut
where it costs least, against segments from a fixed step and from a random one, overlapping blocks, and windows. At one
point of training, `rolling` is what overlapping blocks are: it runs the steps before a chunk again.
"""

from tbptt_jax.experiments.break_even_memory.claims import CLAIMS
from tbptt_jax.experiments.break_even_memory.figures import draw
from tbptt_jax.experiments.break_even_memory.measure import can_be_kept, measure
from tbptt_jax.lab.experiment import Experiment

AXES = {"cell": "tanh", "estimator": ["randomized", "artbp", "optimal", "segment", "buffered", "window"]}
TASKS = ["copy(length=60, longest=10)", "recall(distance=20)", "time_machine(length=64)"]
WHOLE = AXES | {"task": TASKS, "tau": [8, 16, 32], "seed": list(range(200, 212))}
experiment = Experiment(
    name="break_even_memory",
    source='the lecture: unbiased truncation "doesn\'t actually work any better in practice"; at equal memory?',
    summary="from how many sequences an update on unbiased truncation pays, where all keep as many states",
    axes={
        "smoke": AXES
        | {"task": "copy(length=20, longest=4)", "tau": [4, 8], "seed": [0, 1]}
        | {"training": 100, "hidden": 4, "population": 64, "chunks": 10},
        "default": WHOLE | {"training": 1000, "hidden": 16, "population": 256, "chunks": 300},
        "paper": WHOLE | {"training": 10_000, "hidden": 64, "population": 1024, "chunks": 1000},
    },
    together=("estimator",),
    makes_sense=can_be_kept,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
