"""Languages that must be counted or remembered, at the size of UORO's authors: one sequence, one update a symbol.

Streams of aⁿbⁿ and of distant brackets, whose entropies are known. Segments of τ steps make one update every τ symbols,
all others one a symbol, by Adam at a rate that falls with the symbols read. What counts is the loss on the stream, of
each symbol before it is learned from. GRUs of 64 read two million of them (`ten_million_symbols` reads on); methods
that need weights which act through one sum, or that cost ten times as much, are compared in LSTMs, over the first
hundred thousand; the exact gradient of aⁿbⁿ alone, which took an hour and more for five networks.
"""

from tbptt_jax.experiments.formal_languages.claims import CLAIMS, UORO
from tbptt_jax.experiments.formal_languages.figures import draw
from tbptt_jax.experiments.formal_languages.measure import measure
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment

CHEAP = ["segment(tau=1)", "segment(tau=2)", "segment(tau=16)", "uoro()"]
OTHERS = ["dni(tau=1)", "snap()", "kf_rtrl()", "ok()", "rtrl()"]
ALL = [*CHEAP, *OTHERS]
FIRST, MANY = 100_000, 2_000_000


def makes_sense(config: Config) -> bool:
    """GRUs read on, with the estimators of the paper and those that are no other's; LSTMs read the beginning, with all,
    but for the exact gradient of brackets."""
    if config["cell"] == "gru":
        return config["symbols"] != FIRST and config["estimator"] not in OTHERS
    too_long = config["symbols"] == FIRST and config["task"] == "brackets()" and config["estimator"] == "rtrl()"
    return config["symbols"] != MANY and not too_long


AXES = {"task": ["a_n_b_n()", "brackets()"], "hidden": 64, "seed": 0}
experiment = Experiment(
    name="formal_languages",
    source=UORO,
    version=3,
    summary="bits per symbol on aⁿbⁿ and brackets, one update a symbol",
    axes={
        "smoke": {"task": "a_n_b_n(most=4)", "estimator": ["segment(tau=1)", "segment(tau=16)", "uoro()"]}
        | {"cell": "lstm", "hidden": 8, "symbols": 4000, "seed": 0, "seeds": 3},
        "default": AXES | {"estimator": ALL, "cell": ["gru", "lstm"], "symbols": [FIRST, MANY], "seeds": 5},
        "paper": AXES | {"estimator": ALL, "cell": ["gru", "lstm"], "symbols": 10**7, "seeds": 10},
    },
    makes_sense=makes_sense,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
