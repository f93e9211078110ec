"""Where to cut: the variance of randomized truncation with the best keep probabilities, against equal ones and ARTBP.

All keep τ states on average for their gated backward pass. `optimal` has estimated its probabilities on other batches,
as it does in training, by passes that keep all states; its variance, as all others, is then exact. The least is that of
the best probabilities that were found for the very batch that is measured.
"""

from tbptt_jax.experiments.best_gates.claims import CLAIMS, OURS
from tbptt_jax.experiments.best_gates.figures import draw
from tbptt_jax.experiments.best_gates.measure import EVERY, measure
from tbptt_jax.lab.experiment import Experiment

AXES = {"estimator": ["randomized", "artbp", "optimal"], "hidden": 8}
experiment = Experiment(
    name="best_gates",
    source=OURS,
    summary="where to cut: variance with the best keep probabilities, against equal ones and ARTBP",
    axes={
        "smoke": AXES
        | {"losses": ["every step", "last"], "radius": 0.95, "training": 0}
        | {"tau": [2, 8], "length": 32, "chunks": 200, "seeds": 2},
        "default": AXES
        | {"losses": list(EVERY), "radius": [0.6, 0.95, 1.2], "training": [0, 300]}
        | {"tau": [2, 4, 8, 16], "length": 64, "chunks": 500, "seeds": 10},
        "paper": AXES
        | {"losses": list(EVERY), "radius": [0.6, 0.8, 0.95, 1.2], "training": [0, 300, 3000], "hidden": 32}
        | {"tau": [2, 4, 8, 16, 32], "length": 128, "chunks": 2000, "seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
