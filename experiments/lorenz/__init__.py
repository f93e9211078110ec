"""Truncation in a program that is no network: fit a parameter of the Lorenz system through 2,000 chaotic steps.

The mean height of the trajectories responds smoothly to the parameter rho: its slope, by a finite difference over
trajectories, is near 1. The exact gradient of that mean over 2,000 steps is something else, since nearby trajectories
part exponentially. Cutting the backward pass into segments keeps the near response and drops the explosion.
"""

from tbptt_jax.experiments.lorenz.claims import CLAIMS
from tbptt_jax.experiments.lorenz.figures import draw
from tbptt_jax.experiments.lorenz.measure import measure
from tbptt_jax.lab.experiment import Experiment

TAUS = [5, 10, 25, 50, 100, 200, 500]
experiment = Experiment(
    name="lorenz",
    source="a question that users of differentiable simulators ask",
    summary="truncation in a chaotic system that is no network: the gradient that works is the truncated one",
    axes={
        "smoke": {"tau": [10, 50, 100, 500], "steps": 500, "seeds": 3},
        "default": {"tau": [*TAUS, 1000, 2000], "steps": 2000, "seeds": 24, "seed": 100},
        "paper": {"tau": [*TAUS, 1000, 2000, 5000], "steps": 5000, "seeds": 40},
    },
    version=3,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
