"""A system whose parameter helps at once and harms in the long run: a gradient that looks back too little climbs.

The response of s¹ to θ over K lags rises to K = 19, is negative from K = 41 and −6 in the end, so that truncation
points the wrong way until it sees 41 lags: windows from τ = 41 on, segments, whose losses see 0..τ−1 lags, from
τ = 110. The slope of an estimator is its mean gradient over (s¹ − 1) at the fixed point of the first θ. All others make
an update every 400, 100, 10 steps or every step: what does not reach beyond its chunk then sees too little again.
"""

from tbptt_jax.experiments.influence_balancing.claims import CHECKS, CLAIMS, TALLEC
from tbptt_jax.experiments.influence_balancing.figures import draw
from tbptt_jax.experiments.influence_balancing.measure import EPISODE, LONG, makes_sense, measure
from tbptt_jax.lab.experiment import Experiment

TAUS = [2, 10, 19, 30, 40, 41, 60, 100, 109, 110, 150, 200]
WITHIN = [
    *("full()", "randomized(keep=0.9)", "randomized(keep=0.98)", "artbp(length=10)", "artbp(length=50)"),
    *("optimal(keep=0.9)", "telescope()", "adaptive(delta=0.5, longest=64)", "forward_gradient(directions=8)"),
    "truncated_es(sigma=0.1, particles=64)",
]
LENGTHS = [LONG, 100, 10, 1]
BEYOND = ["rtrl()", "snap()", "rflo()", "uoro()"]
PERTURBED = [
    f"{name}(sigma=0.1, particles=64, chunks={EPISODE // length})" for name in ("pes", "nres") for length in LENGTHS[1:]
]
AXES = {"estimator": ["window", "segment", *WITHIN, *BEYOND, *PERTURBED], "length": LENGTHS}
experiment = Experiment(
    name="influence_balancing",
    source=TALLEC,
    version=2,
    summary="a parameter that helps at once and harms in the long run: who sees far enough to learn it",
    axes={
        "smoke": AXES
        | {"tau": [10, 40, 41, 100, 109, 110, 200], "length": [LONG, 10], "updates": 2000, "samples": 64, "seeds": 2}
        | {"seed": 0},
        "default": AXES | {"tau": TAUS, "updates": 3000, "samples": 1024, "seeds": 20, "seed": 0},
        "paper": AXES | {"tau": list(range(1, 301)), "updates": 30_000, "samples": 4096, "seeds": 20, "seed": 0},
    },
    measure=measure,
    plot=draw,
    makes_sense=makes_sense,
    claims=CLAIMS,
    checks=CHECKS,
)
