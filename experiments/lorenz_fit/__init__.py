"""Learning two parameters of the Lorenz system online: the Lorenz figure of noise-reuse evolution strategies.

A simulation of 2,000 chaotic steps is to follow one with the true parameters; its loss is the mean squared difference
of their heights. Whole simulations are backpropagated through, or perturbed; all other estimators go through them in
unrolls of 100 steps, with one update an unroll, on 200 workers that stand at different places of the simulation. Rates
and numbers of updates are those of the paper's figure. The loss that is reported starts from 10,000 other states. The
program is no network: it is a `Model` of five short functions.
"""

from tbptt_jax.experiments.lorenz_fit.claims import CLAIMS, LI
from tbptt_jax.experiments.lorenz_fit.figures import draw
from tbptt_jax.experiments.lorenz_fit.measure import measure
from tbptt_jax.lab.experiment import Experiment

SIGMA = "sigma=0.04"
ESTIMATORS = [
    *("full()", "segment(tau=100)", "uoro()", "dodge()", f"es({SIGMA}, particles=10)"),
    *(f"{name}({SIGMA}, particles=1)" for name in ("truncated_es", "pes", "nres")),
]
AXES = {"estimator": ESTIMATORS, "steps": 2000, "unroll": 100, "seed": 0}
experiment = Experiment(
    name="lorenz_fit",
    source=LI,
    summary="who learns two parameters of the Lorenz system online: the figure of noise-reuse evolution strategies",
    axes={
        "smoke": AXES | {"part": 0.02, "workers": 40, "starts": 100, "seeds": 3},
        "default": AXES | {"part": 1.0, "workers": 200, "starts": 10_000, "seeds": 10},
        "paper": AXES | {"part": 1.0, "workers": 200, "starts": 10_000, "seeds": 20},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
