"""Learning a learning rate online: the toy meta-optimisation of persistent evolution strategies.

Gradient descent on a surface of two dimensions makes 100 steps from (1, 1); its learning rate goes linearly from one
value to another, and their logarithms are learned, by the mean of the surface's height over all steps. The rates that
are best for the first steps are not those that are best for all 100: what sees ten steps at a time, and forgets what it
did before, goes to the wrong place. The program is no network: the parameters of the model are the two logarithms, its
state is where the descent stands.
"""

from tbptt_jax.experiments.meta_2d.claims import CLAIMS, VICOL
from tbptt_jax.experiments.meta_2d.figures import draw
from tbptt_jax.experiments.meta_2d.measure import measure
from tbptt_jax.lab.experiment import Experiment

AXES = {
    "estimator": [
        *("full()", "segment(tau=10)", "es(sigma=1.0, particles=100)", "truncated_es(sigma=1.0, particles=100)"),
        *("pes(sigma=0.3, particles=100)", "nres(sigma=0.3, particles=100)", "rtrl()", "uoro()"),
    ],
    "steps": 100,
    "unroll": 10,
    "seed": 0,
}
experiment = Experiment(
    name="meta_2d",
    source=VICOL,
    summary="learning a learning rate online: truncation is misled by its short horizon",
    axes={
        "smoke": AXES | {"updates": 1000, "seeds": 3},
        "default": AXES | {"updates": 20_000, "seeds": 10},
        "paper": AXES | {"updates": 20_000, "seeds": 20},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
