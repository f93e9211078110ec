"""When does unbiased truncation pay? From a number of sequences an update on, and that number is exact.

An unbiased truncation trades the bias of a truncation for noise, and noise is averaged away: by the sequences of a
batch, and by small steps. From n* sequences on the unbiased one has the smaller squared error (`tb.exact.break_even`).
Here n* is computed before, during and after training, for tasks that look far back and tasks that do not.
"""

from tbptt_jax.experiments.break_even.claims import CLAIMS
from tbptt_jax.experiments.break_even.figures import draw
from tbptt_jax.experiments.break_even.measure import measure
from tbptt_jax.lab.experiment import Experiment

experiment = Experiment(
    name="break_even",
    source='the lecture: unbiased truncation "doesn\'t actually work any better in practice"; which practice?',
    summary="from how many sequences an update on unbiased truncation has the smaller error",
    axes={
        "smoke": {
            "task": ["copy(length=20, longest=4)", "agreement(distance=10)"],
            "cell": "tanh",
            "estimator": ["randomized", "segment", "window"],
            "tau": [2, 4, 8],
            "training": [0, 100],
            "hidden": 6,
            "population": 256,
            "seed": [0],
        },
        "default": {
            "task": [
                *("copy(length=60, longest=10)", "recall(distance=20)", "adding(length=50)"),
                *("agreement(distance=20)", "time_machine(length=64)"),
            ],
            "cell": "tanh",
            "estimator": ["randomized", "artbp", "segment", "window"],
            "tau": [4, 8, 16],
            "training": 1000,
            "hidden": 16,
            "population": 256,
            "seed": list(range(10, 26)),  # others than those after which the rules were written
        },
        "paper": {
            "task": [
                *("copy(length=60, longest=10)", "agreement(distance=20)", "recall(distance=20)"),
                *("adding(length=20)", "time_machine(length=64)", "brackets(length=64)"),
            ],
            "cell": ["tanh", "gru", "lstm"],
            "estimator": ["randomized", "artbp", "segment", "window"],
            "tau": [2, 4, 8, 16, 32],
            "training": [0, 300, 3000, 30000],
            "hidden": 32,
            "population": 1024,
            "seed": [0, 1, 2, 3, 4],
        },
    },
    together=("estimator",),
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
