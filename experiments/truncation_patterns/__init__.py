"""The chapter's picture: the first words of The Time Machine, cut by each truncation, from real backward passes.

A unit of credit is sent back from every loss through `tb.scan` of a plain sum; what arrives at every earlier step is
the weight with which the estimator counts that loss there.
"""

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.experiments.truncation_patterns.claims import CHECKS
from tbptt_jax.experiments.truncation_patterns.figures import draw
from tbptt_jax.experiments.truncation_patterns.measure import measure
from tbptt_jax.lab.experiment import Experiment

ESTIMATORS = ["full", "segment", "window", "buffered", "randomized", "artbp"]
experiment = Experiment(
    name="truncation_patterns",
    source=CHAPTER,
    summary="the chapter's picture: what full, regular and randomized truncation make of the first words of the text",
    axes={
        "smoke": {"estimator": ESTIMATORS, "tau": 6, "samples": 1024},
        "default": {"estimator": ESTIMATORS, "tau": 6, "samples": 16384},
        "paper": {"estimator": ESTIMATORS, "tau": 6, "samples": 2**18},
    },
    measure=measure,
    plot=draw,
    checks=CHECKS,
)
