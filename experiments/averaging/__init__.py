"""Does the order of the final losses turn where n* says that it must? Trainings with noise above and below it.

`break_even` computes from how many averaged sequences on an unbiased truncation has the smaller error. Here networks
are trained with one, four and 16 sequences an update on a task whose n* is small and on one whose n* is large, at the
best of three learning rates, which is chosen on other sequences than those that are reported.
"""

from tbptt_jax.experiments.averaging.claims import CLAIMS
from tbptt_jax.experiments.averaging.figures import draw
from tbptt_jax.experiments.averaging.measure import measure
from tbptt_jax.lab.experiment import Experiment

experiment = Experiment(
    name="averaging",
    source='the lecture: unbiased truncation "doesn\'t actually work any better in practice"; tested in training',
    summary="whether unbiased truncation learns more where n* says so",
    axes={
        "smoke": {
            "task": ["copy(length=20, longest=4)"],
            "cell": "tanh",
            "estimator": ["full", "segment", "randomized"],
            "tau": 4,
            "batch": [1, 8],
            "hidden": 8,
            "updates": 100,
            "seeds": 3,
            "seed": 0,
        },
        "default": {
            "task": ["copy(length=60, longest=10)", "time_machine(length=64)"],
            "cell": "lstm",
            "estimator": ["full", "segment", "randomized"],
            "tau": 8,
            "batch": [1, 4, 16],
            "hidden": 32,
            "updates": 2000,
            "seeds": 10,
            "seed": 0,
        },
        "paper": {
            "task": [
                *("copy(length=60, longest=10)", "agreement(distance=20)", "recall(distance=20)"),
                *("adding(length=50)", "time_machine(length=64)", "brackets(length=64)"),
            ],
            "cell": ["tanh", "gru", "lstm"],
            "estimator": ["full", "segment", "window", "randomized", "artbp"],
            "tau": [4, 8, 16],
            "batch": [1, 4, 32, 256],
            "hidden": 64,
            "updates": 30_000,
            "seeds": 10,
            "seed": 0,
        },
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
