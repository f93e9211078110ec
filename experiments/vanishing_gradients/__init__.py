"""How far a loss looks back: the norm of its credit at each lag, against the spectral radius of W_hh.

The credit of a loss at lag k is a product of k Jacobians. In a linear network these are all W_hh, and its norm follows
from the eigenvalues; in others the saturation of their units and their gates have a say. Before training, and after it
on a symbol that must be named 24 steps later, which cannot be learned without credit from there.
"""

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.experiments.vanishing_gradients.claims import CHECKS, CLAIMS
from tbptt_jax.experiments.vanishing_gradients.figures import draw
from tbptt_jax.experiments.vanishing_gradients.measure import measure
from tbptt_jax.lab.experiment import Experiment

CELLS = ["linear", "tanh", "gru", "lstm"]
experiment = Experiment(
    name="vanishing_gradients",
    source=CHAPTER,
    summary="the norm of credit at each lag against the spectral radius, before and after training",
    axes={
        "smoke": {
            "cell": ["linear", "tanh", "lstm"],
            "radius": [0.8, 1.0, 1.2],
            "orthogonal": [False, True],
            "training": 0,
            "hidden": 16,
            "seeds": 2,
        },
        "default": {
            "cell": CELLS,
            "radius": [0.5, 0.8, 1.0, 1.2, 1.5],
            "orthogonal": [False, True],
            "training": [0, 1500],
            "hidden": 32,
            "seeds": 32,
        },
        "paper": {
            "cell": CELLS,
            "radius": [0.3, 0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0],
            "orthogonal": [False, True],
            "training": [0, 1000, 10_000],
            "hidden": 128,
            "seeds": 10,
        },
    },
    makes_sense=lambda config: config["training"] == 0 or (config["radius"] == 1.0 and config["cell"] != "linear"),
    measure=measure,
    version=3,
    plot=draw,
    claims=CLAIMS,
    checks=CHECKS,
)
