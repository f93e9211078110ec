"""Languages that must be counted or remembered: bits per symbol above the entropy, by several families of estimators.

Streams of aⁿbⁿ and of distant brackets, whose entropies are known. Equal data: every training reads the same number of
symbols, the state carried; segments make one update every τ steps, artbp one a random segment of mean length τ, the
others one every 32.
"""

from tbptt_jax.experiments.formal_languages.claims import CLAIMS, UORO
from tbptt_jax.experiments.formal_languages.figures import draw
from tbptt_jax.experiments.formal_languages.measure import measure
from tbptt_jax.lab.experiment import Experiment

AXES = {
    "task": ["a_n_b_n(most=8)", "brackets()"],
    "estimator": ["full()", "segment", "artbp", "randomized", "optimal", "uoro()", "pes(particles=16, chunks=8)"],
    "tau": [2, 4, 16],
    "cell": "lstm",
    "hidden": 24,
    "seed": 0,
}
experiment = Experiment(
    name="formal_languages",
    source=UORO,
    version=2,
    summary="bits per symbol on aⁿbⁿ and distant brackets, by several families of estimators",
    axes={
        "smoke": AXES | {"task": "a_n_b_n(most=4)", "tau": [2, 8], "symbols": 50_000, "seeds": 3},
        "default": AXES | {"symbols": 1_000_000, "seeds": 8},
        "paper": AXES
        | {"estimator": [*AXES["estimator"], "snap()", "kf_rtrl()", "rflo()", "ok()", "rtrl()"]}
        | {"task": ["a_n_b_n()", "brackets()"], "tau": [2, 16, 64], "hidden": 64, "symbols": 10**8, "seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
