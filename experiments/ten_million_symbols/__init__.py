"""What `formal_languages` measures, at the length of UORO's authors: ten million symbols of aⁿbⁿ, one at a time.

GRUs of 64, with the four estimators whose bits a symbol are published. Five networks of one estimator read their
streams side by side, which takes from minutes (segments of 16 steps) to hours of one core (UORO).
"""

from tbptt_jax.experiments.formal_languages import CHEAP
from tbptt_jax.experiments.formal_languages.figures import draw
from tbptt_jax.experiments.formal_languages.measure import measure
from tbptt_jax.experiments.ten_million_symbols.claims import CLAIMS, UORO
from tbptt_jax.lab.experiment import Experiment

AXES = {"task": "a_n_b_n()", "estimator": CHEAP, "cell": "gru", "hidden": 64, "symbols": 10**7, "seed": 0}
experiment = Experiment(
    name="ten_million_symbols",
    source=UORO,
    summary="bits per symbol on aⁿbⁿ at the length of UORO's authors",
    axes={
        "smoke": AXES | {"task": "a_n_b_n(most=4)", "hidden": 8, "symbols": 4000, "seeds": 2},
        "default": AXES | {"seeds": 5},
        "paper": AXES | {"seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
