"""Do networks with all credit pass the counted n-grams where they are trained until they learn no more?

In `time_machine` and `past_ngrams` the budget is fixed, and most trainings are best at its end. Here networks of 128
read four times as many symbols, the same text some sixty times over, at the rate that `past_ngrams` found to be best
and at half of it; the moment that is reported is the best on a selection set.
"""

from tbptt_jax.experiments.past_ngrams.figures import draw
from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.experiments.time_machine.measure import makes_sense
from tbptt_jax.experiments.trained_out.claims import CLAIMS
from tbptt_jax.experiments.trained_out.measure import measure
from tbptt_jax.lab.experiment import Experiment

AXES = {
    "task": "time_machine",
    "cell": "gru",
    "order": "sequential",
    "updates": "every chunk",
    "estimator": "full",
    "tau": 8,
    "batch": 32,
}
experiment = Experiment(
    name="trained_out",
    source=CHAPTER,
    summary="all credit on The Time Machine, trained until the held-out loss falls no more: past the n-grams?",
    axes={
        "smoke": AXES | {"hidden": 32, "symbols": 400_000, "seeds": 3, "seed": 0},
        "default": AXES | {"hidden": 128, "symbols": 9_830_400, "seeds": 5, "seed": 200},
        "paper": AXES | {"hidden": 512, "symbols": 64_000_000, "seeds": 10, "seed": 200},
    },
    makes_sense=makes_sense,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
