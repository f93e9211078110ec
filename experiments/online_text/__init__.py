"""A text that is read once, with an update at every symbol: which credit is it worth carrying?

What `online` does on streams that are made, on *The Time Machine*: one sequence, 150,000 symbols, Adam without
clipping. In networks of tanh units, LSTMs and GRUs, beside a trigram that is counted on the same text.
"""

from tbptt_jax.experiments.online.claims import MARSCHALL
from tbptt_jax.experiments.online_text.claims import CLAIMS
from tbptt_jax.experiments.online_text.figures import draw
from tbptt_jax.experiments.online_text.measure import measure
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment

ESTIMATORS = [
    *("window(tau=1)", "segment(tau=8)", "rolling(k1=8, k2=1)", "dni(tau=1)"),
    *("rtrl()", "snap()", "rflo()", "eprop()", "kf_rtrl()", "ok()", "uoro()"),
]
NOT_IN = {
    "tanh": ("eprop()",),
    "lstm": ("rtrl()", "rflo()"),
    "gru": ("rtrl()", "snap()", "rflo()", "eprop()", "kf_rtrl()", "ok()"),
}
"""Which of them are not measured in networks of a kind. E-prop stands in the place of RFLO in LSTMs; of tanh units it
is `rflo(leak=0)`. An update by RTRL takes dozens of times as long as by the one step alone in LSTMs and GRUs; so does
one by SnAp-1 or RFLO in GRUs, whose reset gate lets parameters act on all units. KF-RTRL and OK need weights that act
through one sum, as those of GRUs do not."""


def is_asked(config: Config) -> bool:
    """All but these; what is not among `ESTIMATORS`, in every network."""
    return config["estimator"] not in NOT_IN.get(config["cell"], ())


AXES = {"task": "time_machine()", "estimator": ESTIMATORS, "cell": list(NOT_IN)}
experiment = Experiment(
    name="online_text",
    source=MARSCHALL,
    summary="one update a symbol on a text that is read once: loss against symbols and memory",
    axes={
        "smoke": AXES
        | {"estimator": ["window(tau=1)", "rolling(k1=8, k2=1)"], "cell": "tanh"}
        | {"hidden": 16, "symbols": 2000, "seeds": 3, "seed": 0},
        "default": AXES | {"hidden": 32, "symbols": 150_000, "seeds": 5, "seed": 0},
        "paper": AXES | {"hidden": 128, "symbols": 10**7, "seeds": 10, "seed": 0},
    },
    makes_sense=is_asked,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
