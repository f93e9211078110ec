"""The variance of perturbing estimators against the length of their unrolls, on streams of two kinds.

A stream of fixed length is cut into chunks of K steps. The parameters are held, each chunk gives one estimate, and
their mean is the estimate of the gradient of the stream's loss. PES adds up its noise over the chunks. Where the
gradients of all chunks are alike, that tries many directions for one gradient; where they are not, it adds noise from
other chunks. Mean and variance are exact, in the limit of small perturbations, for each of several networks; one of
them is sampled too.
"""

from tbptt_jax.experiments.pes_variance.claims import CHECKS, CLAIMS, ESTIMATORS, VICOL
from tbptt_jax.experiments.pes_variance.figures import draw
from tbptt_jax.experiments.pes_variance.measure import measure
from tbptt_jax.lab.experiment import Experiment

AXES = {"stream": ["random", "constant"], "estimator": ESTIMATORS}
experiment = Experiment(
    name="pes_variance",
    source=VICOL,
    summary="the exact variance of ES, PES, GPES and NRES against the length of their unrolls",
    version=2,
    axes={
        "smoke": AXES | {"unroll": [1, 4, 16, 64], "steps": 64, "samples": 2**12, "seeds": 3},
        "default": AXES | {"unroll": [1, 2, 4, 8, 16, 32, 64, 128], "steps": 128, "samples": 2**10, "seeds": 48},
        "paper": AXES | {"unroll": [1, 2, 5, 10, 20, 50, 100, 200, 500], "steps": 1000, "samples": 2**18, "seeds": 20},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
    checks=CHECKS,
)
