"""A system whose parameter helps at once and harms in the long run: a gradient that looks back too little climbs.

The response of s¹ to θ over K lags rises to K = 19, is negative from K = 41 and −6 in the end, so that truncation
points the wrong way until it sees 41 lags: windows from τ = 41 on, segments, whose losses see 0..τ−1 lags, from
τ = 110. The slope of an estimator is its mean gradient over (s¹ − 1) at the fixed point of the first θ.
"""

from tbptt_jax.experiments.influence_balancing.claims import CLAIMS, TALLEC
from tbptt_jax.experiments.influence_balancing.figures import draw
from tbptt_jax.experiments.influence_balancing.measure import SHORT, makes_sense, measure
from tbptt_jax.lab.experiment import Experiment

TAUS = [2, 10, 19, 30, 40, 41, 60, 100, 109, 110, 150, 200]
PARTICLES = "sigma=0.1, particles=64"
OTHERS = [
    *("full()", "randomized(keep=0.9)", "randomized(keep=0.98)", "artbp(length=10)", "artbp(length=50)"),
    *("optimal(keep=0.9)", "telescope()", "adaptive(delta=0.5, longest=64)"),
    *("rtrl()", "snap()", "rflo()", "uoro()", "forward_gradient(directions=8)"),
    *(
        f"es({PARTICLES})",
        f"truncated_es({PARTICLES})",
        f"pes({PARTICLES}, chunks=20)",
        f"nres({PARTICLES}, chunks=20)",
    ),
]
AXES = {"estimator": ["window", "segment", *OTHERS], "length": [400, SHORT]}
experiment = Experiment(
    name="influence_balancing",
    source=TALLEC,
    summary="a parameter that helps at once and harms in the long run: who sees far enough to learn it",
    axes={
        "smoke": AXES | {"tau": [10, 40, 41, 100, 109, 110, 200], "updates": 2000, "samples": 64, "seeds": 2},
        "default": AXES | {"tau": TAUS, "updates": 5000, "samples": 1024, "seeds": 4},
        "paper": AXES
        | {"tau": list(range(1, 301)), "length": [1000, SHORT]}
        | {"updates": 30_000, "samples": 4096, "seeds": 20},
    },
    measure=measure,
    plot=draw,
    makes_sense=makes_sense,
    claims=CLAIMS,
)
