"""One update a symbol, on streams that do not end: who learns, from how many symbols, at what memory and pace.

Every symbol is read once, by one sequence, and moves the parameters at once: by an influence that is carried forward,
exactly or nearly, by the last few steps run again, by a critic in their place, or by the derivative of the one step
alone. Adam without clipping, since a clipped gradient of one symbol points to the likeliest label and not to its
probability. Beside the loss stands how well each estimator's gradient of a symbol, on the network that it has trained,
is aligned with the exact one, that of RTRL.
"""

from tbptt_jax.experiments.online.claims import CLAIMS, MARSCHALL
from tbptt_jax.experiments.online.figures import draw
from tbptt_jax.experiments.online.measure import measure
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment

ESTIMATORS = [
    *("window(tau=1)", "segment(tau=8)", "rolling(k1=8, k2=1)", "dni(tau=1)"),
    *("rtrl()", "snap()", "sketched()", "rflo()", "eprop()", "kernl()", "kf_rtrl()", "ok()", "uoro()"),
]
OF_CELLS = {"elstm": ("rtrl()", "window(tau=1)"), "lstm": ("eprop()", "snap()", "window(tau=1)")}
"""Which of them are measured in cells other than tanh."""


def is_asked(config: Config) -> bool:
    """In tanh networks all but e-prop, which is `rflo(leak=0)` there; what is not among `ESTIMATORS` in every cell."""
    if config["cell"] in OF_CELLS and config["estimator"] in ESTIMATORS:
        return config["estimator"] in OF_CELLS[config["cell"]]
    return config["estimator"] != "eprop()" or config["cell"] != "tanh"


AXES = {"estimator": ESTIMATORS, "hidden": 16, "seed": 0}
experiment = Experiment(
    name="online",
    source=MARSCHALL,
    summary="one update a symbol on endless streams: loss against symbols, memory and alignment",
    axes={
        "smoke": AXES
        | {"task": "delayed_sum()", "cell": "tanh", "estimator": ["window(tau=1)", "rtrl()", "uoro()"]}
        | {"symbols": 2000, "seeds": 3},
        "default": AXES
        | {"task": ["delayed_sum()", "mimic()", "a_n_b_n(most=8)"], "cell": ["tanh", "elstm", "lstm"]}
        | {"symbols": 100_000, "seeds": 10},
        "paper": AXES
        | {"task": ["delayed_sum()", "mimic()", "a_n_b_n()", "brackets()", "time_machine()"]}
        | {"cell": ["tanh", "gru", "elstm"], "hidden": 64, "symbols": 10**7, "seeds": 10},
    },
    makes_sense=is_asked,
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
