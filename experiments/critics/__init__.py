"""Can what is cut be predicted? The exact variance of randomized truncation with a critic and without.

A critic that foresees the credit which crosses a cut takes it out of the noise, and leaves the mean alone. Here one is
fitted to networks at several stages of training, on other sequences than those that it is judged by, from credits that
randomized truncation makes itself; then n*, the number of sequences from which on unbiased truncation has the smaller
squared error than segments, is computed with it and without.
"""

from tbptt_jax.experiments.critics.claims import CLAIMS, OURS
from tbptt_jax.experiments.critics.figures import draw
from tbptt_jax.experiments.critics.measure import measure
from tbptt_jax.lab.experiment import Experiment


def with_and_without(keep: float, *critics: str) -> dict:
    """The axis of estimators: randomized truncation alone, and with each critic."""
    return {"estimator": [f"randomized(keep={keep})", *(f"randomized(keep={keep}, critic={c})" for c in critics)]}


AXES = {"cell": "tanh"}
TASKS = [
    *("copy(length=60, longest=10)", "recall(distance=20)", "adding(length=50)", "agreement(distance=20)"),
    "time_machine(length=64)",
]
experiment = Experiment(
    name="critics",
    source=OURS,
    summary="what a critic of cut credit leaves of the variance of unbiased truncation",
    axes={
        "smoke": AXES
        | {"task": ["recall(distance=8)", "copy(length=20, longest=4)"], "training": [0, 100], "hidden": 8}
        | with_and_without(0.75, "linear()", "features(count=128)")
        | {"chunks": 100, "population": 64, "seed": [0, 1, 2]},
        "default": AXES
        | {"task": TASKS, "training": [0, 1000], "hidden": 16}
        | with_and_without(0.875, "linear()", "features(count=128)")
        | {"chunks": 150, "population": 64, "seed": list(range(10, 34))},  # networks that the rules had not seen
        "paper": AXES
        | {"task": TASKS, "cell": ["tanh", "gru", "lstm"], "training": [0, 200, 1000, 10_000], "hidden": 32}
        | with_and_without(0.875, "linear()", "features(count=512)", "mlp(width=128)")
        | {"chunks": 1000, "population": 512, "seed": list(range(10))},
    },
    together=("estimator",),
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
