"""Does truncation constrain the model? What a trained network has become, against the length it was trained with.

A network that is large for its text is trained on windows of 64 steps from anywhere in it, so often that it begins to
learn them by heart: by truncations of all lengths, with equal data and equal updates, and beside them with zoneout, a
regulariser that keeps every unit's old value with some probability, three of which were chosen to have the effect of
the shortest segments, and with dropout, which hides units from the readout. Then: its loss on a held-out text where its
loss on what it was trained on is the same for all, and at its best moment, which another text chooses, beside counted
n-grams; the spectral radius of its W_hh, how fast its credit fades, and its horizon, the lag within which 95% of a
loss's credit lies.
"""

from tbptt_jax.experiments.regularization.claims import CLAIMS
from tbptt_jax.experiments.regularization.figures import draw
from tbptt_jax.experiments.regularization.measure import measure
from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment


def makes_sense(config: Config) -> bool:
    """A network has one regulariser, the other is None; and all credit, where that does something."""
    one = (config["zoneout"] is None) != (config["dropout"] is None)
    return one and (config["zoneout"] == 0 or config["estimator"] == "full()")


AXES = {
    "task": "time_machine",
    "estimator": ["full()", "segment", "window", "randomized", "artbp"],
    "tau": [2, 8, 32],
    "zoneout": [0.0, 0.01, 0.02, 0.05, 0.1, 0.3, None],
    "dropout": [None, 0.05, 0.2, 0.5],
    "validation": 0.8,
    "hidden": 128,
    "seed": 0,
}
experiment = Experiment(
    name="regularization",
    source=CHAPTER,
    version=3,
    summary="what truncation makes of the model: horizon, and the loss on held-out text at equal loss in training",
    axes={
        "smoke": AXES | {"tau": [2, 16], "hidden": 32, "updates": 200, "seeds": 3},
        "default": AXES | {"updates": 1500, "seeds": 12},
        "paper": AXES | {"tau": [2, 4, 8, 16, 32, 64], "hidden": 512, "updates": 10_000, "seeds": 10},
    },
    measure=measure,
    makes_sense=makes_sense,
    added={"dropout": None},
    plot=draw,
    claims=CLAIMS,
)
