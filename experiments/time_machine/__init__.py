"""The Time Machine, character by character: what truncation costs in perplexity, and what it saves.

Equal data: every training reads the same number of symbols, with dropout and weight decay. It is judged at the moment
at which its loss on the first half of the held-out text is the smallest, by its loss on the second half, beside counted
n-grams. In sequential order the state is carried. With updates "at cuts", segments are the textbook's truncation,
chunks of τ steps with one update each; `rolling` makes an update every τ steps that looks back across chunks; and artbp
makes one for each random segment, of mean length τ and at most 4 τ steps, beyond which credit is lost; and `dni` has
segments at whose ends a critic stands for what is cut. With updates "every chunk" of 64 steps only the gradient
differs; `optimal` cuts where it costs the least variance. In random order, where windows are read from anywhere with an
empty state, the exact gradient stands alone.
"""

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.experiments.time_machine.claims import CLAIMS, OF_ONE
from tbptt_jax.experiments.time_machine.figures import draw
from tbptt_jax.experiments.time_machine.measure import makes_sense, measure
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment

METHODS = ["full", "segment", "randomized", "optimal", "artbp", "rolling", "dni"]
AXES = {
    "task": "time_machine",
    "cell": "gru",
    "order": ["sequential", "random"],
    "updates": ["every chunk", "at cuts"],
    "estimator": METHODS,
    "tau": [2, 4, 8, 16, 32],
    "batch": 32,
    "seed": 0,
}


SYMBOLS = 2_457_600
LENGTHS = {"randomized": [2, 8, 32], "artbp": [8, 32], "rolling": [8, 32], "optimal": [8], "dni": [8]}
"""What is measured of them where so many symbols are read, since optimal, artbp and rolling take several times as long
as segments."""


def in_reach(config: Config) -> bool:
    """Optimal, artbp and rolling take long: where 2,457,600 symbols are read, few of their lengths are measured, and
    few of randomized truncation and of a critic. Updates at cuts are for what has a pace of its own, and random order
    for all credit."""
    method = config.chosen[0].method
    left_out = method in LENGTHS and config.tau not in LENGTHS[method] and config["symbols"] == SYMBOLS
    return makes_sense(config) and not left_out


experiment = Experiment(
    name="time_machine",
    source=CHAPTER,
    version=3,
    summary="perplexity on The Time Machine at equal data, beside counted n-grams",
    axes={
        "smoke": AXES | {"tau": [8, 32], "hidden": 32, "symbols": 200_000, "seeds": 3},
        "default": AXES | {"estimator": [*METHODS, OF_ONE], "hidden": 96, "symbols": SYMBOLS, "seeds": 6},
        "paper": AXES
        | {"cell": ["tanh", "gru", "lstm"], "tau": [2, 4, 8, 16, 32, 64]}
        | {"hidden": 512, "symbols": 64_000_000, "seeds": 10},
    },
    makes_sense=in_reach,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
