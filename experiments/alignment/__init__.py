"""How well the estimators agree, with the exact gradient and with each other, while a network learns.

A network is trained by full backpropagation; at every evaluation every estimator gives its estimates on fresh batches;
those that learn from chunk to chunk have learned from others. The cosines of the recurrent weights' gradients
are taken, with the exact one and of every pair, as in the unified framework of Marschall et al. The readout's part is
left out: it is exact in all estimators but those that perturb or take random directions.
"""

from tbptt_jax.experiments.alignment.claims import CHECKS, CLAIMS, CRITIC, MARSCHALL
from tbptt_jax.experiments.alignment.figures import draw
from tbptt_jax.experiments.alignment.measure import measure
from tbptt_jax.lab.experiment import Experiment

BIASED = [
    *("segment(tau=4)", "window(tau=4)", "adaptive(delta=0.5, longest=16)", f"segment(tau=4, {CRITIC})"),
    *("snap()", "sketched(rank=4)", "rflo()", "eprop()", "kernl()"),
]
EXACT_ON_AVERAGE = [
    *("randomized(keep=0.75)", "artbp(length=4)", "optimal(keep=0.75)", "telescope()"),
    f"randomized(keep=0.75, {CRITIC})",
    *("rtrl()", "uoro()", "uoro(rank=4)", "uoro(memory=8)", "nobacktrack()"),
    *("kf_rtrl()", "r_kf_rtrl()", "ok()", "ok(rank=4)"),
    *("es()", "pes()", "nres()", "forward_gradient(directions=8)"),
]
AXES = {
    "task": "copy(length=32, batch_size=8, longest=5)",
    "estimator": ["full()", *BIASED, *EXACT_ON_AVERAGE],
    "tau": 4,
    "hidden": 16,
    "seed": 1,  # others than those after which the margins were written
}
experiment = Experiment(
    name="alignment",
    source=MARSCHALL,
    summary="cosines of every estimator with the exact gradient and with each other, during training",
    axes={
        "smoke": AXES | {"cell": "tanh", "updates": 100, "samples": 4, "seeds": 1},
        "default": AXES | {"cell": ["tanh", "lstm"], "updates": 1000, "samples": 32, "seeds": 12},
        "paper": AXES | {"cell": ["tanh", "lstm"], "hidden": 32, "updates": 10_000, "samples": 256, "seeds": 8},
    },
    measure=measure,
    together=("estimator",),
    plot=draw,
    claims=CLAIMS,
    checks=CHECKS,
)
