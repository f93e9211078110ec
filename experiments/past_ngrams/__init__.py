"""What keeps networks above counted n-grams: truncation, or the learning rate?

In `time_machine` every training ends best at the highest rate of its grid. Here networks of 128, which it has not seen,
read the same text at that rate, twice and four times it: with all credit, and with the credit of 8 steps.
"""

from tbptt_jax.experiments.past_ngrams.claims import CLAIMS
from tbptt_jax.experiments.past_ngrams.figures import draw
from tbptt_jax.experiments.past_ngrams.measure import measure
from tbptt_jax.experiments.time_machine.claims import CHAPTER
from tbptt_jax.experiments.time_machine.measure import makes_sense
from tbptt_jax.lab.experiment import Experiment

AXES = {
    "task": "time_machine",
    "cell": "gru",
    "order": "sequential",
    "updates": ["every chunk", "at cuts"],
    "estimator": ["full", "segment", "randomized"],
    "tau": 8,
    "batch": 32,
}
experiment = Experiment(
    name="past_ngrams",
    source=CHAPTER,
    summary="perplexity on The Time Machine at higher rates: do networks pass the counted n-grams?",
    axes={
        "smoke": AXES | {"hidden": 32, "symbols": 200_000, "seeds": 3, "seed": 0},
        "default": AXES | {"hidden": 128, "symbols": 2_457_600, "seeds": 5, "seed": 100},
        "paper": AXES | {"hidden": 512, "symbols": 64_000_000, "seeds": 10, "seed": 100},
    },
    makes_sense=makes_sense,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
