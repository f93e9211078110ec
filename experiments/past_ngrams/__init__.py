"""What keeps networks above counted n-grams: truncation, their size, their learning rate, or too few updates?

In `time_machine` every training ends best at the highest rate of its grid. Here larger networks read the same text at
that rate, at twice and at four times it: with all credit, with that of segments of 8 steps and by randomized truncation
of that mean length, all with an update every 64 steps; and by segments of 8 with an update at every cut, eight times as
many.
"""

from tbptt_jax.experiments.past_ngrams.claims import CLAIMS
from tbptt_jax.experiments.past_ngrams.figures import draw
from tbptt_jax.experiments.past_ngrams.measure import measure
from tbptt_jax.experiments.sources import CHAPTER
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
    summary="perplexity on The Time Machine, larger networks at higher rates: do they pass the counted n-grams?",
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
