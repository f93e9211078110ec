"""Who learns what truncation cannot see: a symbol, or a number, that must be remembered over a distance d.

The loss is at the last step only. A truncation that sees fewer than d + 1 lags gives the weights that store the symbol
no credit for it; but the state is carried forward all the same, and a readout may learn what a network that was drawn
at random happens to remember. `learned` is the part of the blind loss that training removed: 1 is all. Learning rate
and moment are chosen on other sequences than those that are reported; segments have random offsets, since from a fixed
one on, lengths that are equal modulo the distance are the same run.
"""

from tbptt_jax.experiments.long_dependencies.claims import CLAIMS
from tbptt_jax.experiments.long_dependencies.figures import draw
from tbptt_jax.experiments.long_dependencies.measure import measure
from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.experiment import Experiment

NAMES = ("recall", "agreement")
AXES = {
    "task": [f"{name}(distance={d})" for name in NAMES for d in (5, 10, 20, 40)],
    "cell": "tanh",
    "estimator": ["full()", "segment", "window", "randomized", "artbp"],
    "tau": [2, 4, 8, 16, 32],
    "hidden": 32,
    "seed": 0,
}
experiment = Experiment(
    name="long_dependencies",
    source=CHAPTER,
    summary="who learns what truncation cannot see: recall and number agreement over a distance",
    axes={
        "smoke": AXES | {"task": "recall(distance=5)", "tau": [2, 8], "updates": 400, "seeds": 3},
        "default": AXES
        | {"task": [f"{name}(distance={d})" for name in NAMES for d in (5, 10, 20, 40, 100)]}
        | {"tau": [2, 8, 32], "updates": 2000, "seeds": 10},
        "paper": AXES
        | {
            "task": [f"{name}(distance={d})" for name in ("recall", "agreement") for d in (5, 20, 50, 100)],
            "cell": ["tanh", "gru", "lstm"],
            "estimator": [*AXES["estimator"], "optimal"],
            "tau": [2, 4, 8, 16, 32, 64, 128],
            "updates": 20_000,
            "seeds": 10,
        },
    },
    measure=measure,
    plot=draw,
    version=3,
    claims=CLAIMS,
)
