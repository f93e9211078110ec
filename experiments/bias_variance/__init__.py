"""Bias, variance and mean squared error of every truncation against its length.

A network echoes the symbol it saw some steps ago; its gradient is estimated with an (expected) segment length of τ,
so that all estimators keep the same number of states for the backward pass. Bias and variance come from closed forms
(lines), and from samples with 95% intervals (points); all are relative to the squared norm of the exact gradient.
"""

from tbptt_jax.experiments.bias_variance.claims import CHAPTER, CHECKS, CLAIMS, UNBIASED
from tbptt_jax.experiments.bias_variance.figures import draw
from tbptt_jax.experiments.bias_variance.measure import makes_sense, measure
from tbptt_jax.lab.experiment import Experiment

TRUNCATIONS = ["segment", "window", "buffered", "geometric"]
OTHERS = [
    *("adaptive(delta=0.5)", "telescope()", "rtrl()", "snap()", "rflo()", "uoro()", "kf_rtrl()"),
    *("es()", "truncated_es()", "pes()", "nres()", "forward_gradient(directions=8)"),
]
AXES = {
    "cell": ["tanh", "gru", "lstm"],
    "radius": [0.6, 1.2],
    "training": [0, 300],
    "estimator": [*TRUNCATIONS, *UNBIASED, "optimal", *OTHERS],
    "tau": [2, 4, 8, 16, 32],
}
SCALES = {
    "smoke": AXES
    | {"cell": "tanh", "training": 0, "tau": [2, 4, 8, 16]}
    | {"estimator": ["segment", "window", "geometric", *UNBIASED, "uoro()"]}
    | {"length": 32, "hidden": 8, "samples": 256, "seeds": 3},
    "default": AXES | {"length": 64, "hidden": 16, "samples": 1024, "seeds": 4},
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
    makes_sense=makes_sense,
    claims=CLAIMS,
    checks=CHECKS,
)
