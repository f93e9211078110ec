"""Aicher's table: the test perplexity of copying by windows of fixed lengths, and by adaptive ones.

Endless streams of a marker, ℓ − 1 symbols out of 4 and ℓ blanks in which they must be repeated, ℓ = 10 or drawn from
5..10: what is asked for was shown ℓ steps before, so that a window needs ℓ + 1 lags to see it. At equal updates and
data: one update a chunk, the state carried.
"""

from tbptt_jax.experiments.copy.claims import AICHER, CLAIMS
from tbptt_jax.experiments.copy.figures import draw
from tbptt_jax.experiments.copy.measure import FIXED, VARIABLE, measure
from tbptt_jax.lab.experiment import Experiment

AXES = {
    "task": [FIXED, VARIABLE],
    "estimator": ["window", *(f"adaptive(delta={delta}, longest=30, shortest=5)" for delta in (0.9, 0.5, 0.1))],
    "tau": [5, 10, 15, 20, 30],
    "length": 40,
}
experiment = Experiment(
    name="copy",
    source=AICHER,
    summary="Aicher's table: perplexity of copying by fixed and by adaptive windows",
    axes={
        "smoke": AXES
        | {"estimator": ["window", "adaptive(delta=0.5, longest=15, shortest=5)"], "tau": [5, 15]}
        | {"optimizer": "adam", "hidden": 16, "layers": 1, "batch_size": 8, "updates": 300, "seeds": 1},
        "default": AXES
        | {"optimizer": "adam", "hidden": 32, "layers": 1, "batch_size": 16, "updates": 4000, "seeds": 2},
        "paper": AXES
        | {
            "length": 200,
            "optimizer": "sgd",
            "hidden": 50,
            "layers": 2,
            "batch_size": 64,
            "updates": 40_000,
            "seeds": 5,
        },
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
