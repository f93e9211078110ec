"""The Time Machine, character by character: what truncation costs in perplexity, and what it saves.

Equal data: every training reads the same number of symbols. In sequential order the state is carried, and segments are
the textbook's truncation: chunks of τ steps with one update each; artbp makes one update a random segment of mean
length τ, the paper's way, but ends a segment at 4 τ, where the credit of longer ones is lost; all others make an update
every 64 steps. In random order, windows of 64 steps are read from anywhere, from an empty state, with an update each:
only the gradient differs. All are evaluated with the state carried over the held-out text.
"""

from tbptt_jax.experiments.time_machine.claims import CHAPTER, CLAIMS, ESTIMATORS
from tbptt_jax.experiments.time_machine.figures import draw
from tbptt_jax.experiments.time_machine.measure import measure
from tbptt_jax.lab.experiment import Experiment

AXES = {
    "task": "time_machine",
    "cell": ["tanh", "gru", "lstm", "trigram"],
    "order": ["sequential", "random"],
    "estimator": ESTIMATORS,
    "hidden": 32,
}
experiment = Experiment(
    name="time_machine",
    source=CHAPTER,
    summary="perplexity on The Time Machine: full, segments, windows and random truncation at equal data",
    axes={
        "smoke": AXES | {"cell": ["tanh", "trigram"], "tau": [4, 16], "batch": 32, "symbols": 200_000, "seeds": 2},
        "default": AXES | {"tau": [4, 16], "batch": 32, "symbols": 2_000_000, "seeds": 2},
        "paper": AXES | {"tau": [2, 4, 8, 16, 32], "batch": 1024, "symbols": 32_000_000, "seeds": 5},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
