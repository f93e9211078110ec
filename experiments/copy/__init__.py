"""Aicher's table: the perplexity of copying by truncations of fixed lengths, and by adaptive ones.

Endless streams of a marker, ℓ − 1 symbols out of 4 and ℓ blanks in which they must be repeated, ℓ = 10 or drawn from
5..10: what is asked for was shown ℓ steps before. A truncation of K is theirs, `rolling(2K − 1, K)`: every K steps one
update, whose losses look back between K − 1 and 2K − 2 steps, across chunks. Adaptive ones choose how far the first
loss of every ten steps looks back. Equal data: all read the same number of symbols, so that short truncation makes more
updates. Learning rates and moments are chosen on other sequences than those that are reported.
"""

from tbptt_jax.experiments.copy.claims import AICHER, CLAIMS
from tbptt_jax.experiments.copy.figures import draw
from tbptt_jax.experiments.copy.measure import FIXED, VARIABLE, measure
from tbptt_jax.lab.experiment import Experiment


def adaptive(delta: float) -> str:
    return f"adaptive_rolling(delta={delta}, longest=30, shortest=5, every=10)"


AXES = {
    "task": [FIXED, VARIABLE],
    "estimator": ["rolling", *map(adaptive, (0.9, 0.5, 0.1))],
    "tau": [5, 10, 15, 20, 30],
    "seed": 0,
}
experiment = Experiment(
    name="copy",
    source=AICHER,
    version=2,
    summary="Aicher's table: perplexity of copying by fixed and by adaptive truncation",
    axes={
        "smoke": AXES
        | {"task": FIXED, "estimator": ["rolling", adaptive(0.5)], "tau": [5, 15]}
        | {"hidden": 16, "layers": 1, "batch_size": 8, "symbols": 50_000, "seeds": 3},
        "default": AXES | {"hidden": 32, "layers": 1, "batch_size": 16, "symbols": 640_000, "seeds": 10},
        "paper": AXES | {"hidden": 50, "layers": 2, "batch_size": 64, "symbols": 10**8, "seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
