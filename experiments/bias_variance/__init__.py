"""Bias, variance and mean squared error of every truncation against its length, and of the other estimators.

A network echoes the symbol it saw some steps ago. Of truncations, bias and variance are closed forms, and so is the
memory that they are compared by: the longest stretch of states alive at once. Estimators without a closed form are
sampled, with 95 % intervals, and stand in a figure of their own. All is relative to the squared norm of the gradient.
"""

from tbptt_jax.experiments.bias_variance.claims import CHECKS, CLAIMS, UNBIASED
from tbptt_jax.experiments.bias_variance.figures import draw
from tbptt_jax.experiments.bias_variance.measure import makes_sense, measure
from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment

TRUNCATIONS = ["segment", "window", "buffered", "geometric"]
OTHERS = [
    *("adaptive(delta=0.5)", "telescope()", "optimal(keep=0.875)", "snap()", "sketched()", "rflo()", "eprop()"),
    *("kernl()", "uoro()", "uoro(memory=8)", "nobacktrack()", "kf_rtrl()", "r_kf_rtrl()", "ok()", "output_only()"),
    *("dni(tau=8)", "bp_lambda(keep=0.875)", "randomized(keep=0.875, critic=linear())", "es()"),
    "forward_gradient(directions=8)",
]
AXES = {
    "cell": ["tanh", "gru", "lstm"],
    "radius": [0.6, 1.2],
    "training": [0, 300],
    "estimator": [*TRUNCATIONS, *UNBIASED, *OTHERS],
    "tau": [2, 4, 8, 16, 32],
}


def in_reach(config: Config) -> bool:
    """What makes sense; what must be sampled stands beside one radius alone, and artbp, whose variance takes the square
    of the steps, beside tanh networks."""
    tanh = config["cell"] == "tanh" or config["estimator"] != "artbp"
    return makes_sense(config) and tanh and ("tau" in config or config["radius"] == 0.6)


SCALES = {
    "smoke": AXES
    | {"cell": "tanh", "training": 0, "tau": [2, 4, 8, 16]}
    | {"estimator": ["segment", "window", "geometric", *UNBIASED, "uoro()"]}
    | {"length": 32, "hidden": 8, "samples": 256, "seeds": 3},
    "default": AXES | {"length": 64, "hidden": 16, "samples": 512, "seeds": 14, "seed": 100},
    "paper": AXES
    | {"radius": [0.6, 0.8, 1.0, 1.2], "training": [0, 300, 3000], "tau": [2, 4, 8, 16, 32, 64, 128]}
    | {"length": 256, "hidden": 64, "samples": 4096, "seeds": 10},
}
experiment = Experiment(
    name="bias_variance",
    source=CHAPTER,
    summary="bias², variance and mean squared error of every truncation against its length",
    axes=SCALES,
    measure=measure,
    plot=draw,
    makes_sense=in_reach,
    claims=CLAIMS,
    checks=CHECKS,
)
