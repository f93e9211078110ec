"""What `formal_languages` measures, at the length of UORO's authors: ten million symbols of aⁿbⁿ, one at a time.

GRUs of 64, by the four methods whose bits a symbol are published.
"""

from tbptt_jax.experiments.formal_languages import CHEAP
from tbptt_jax.experiments.formal_languages.figures import draw
from tbptt_jax.experiments.formal_languages.measure import measure
from tbptt_jax.experiments.ten_million_symbols.claims import CLAIMS, UORO
from tbptt_jax.lab.experiment import Experiment

AXES = {"task": "a_n_b_n()", "estimator": CHEAP, "cell": "gru", "hidden": 64}
LENGTH = {"symbols": 10**7, "seed": 0}
experiment = Experiment(
    name="ten_million_symbols",
    source=UORO,
    summary="bits per symbol on aⁿbⁿ at the length of UORO's authors",
    axes={
        "smoke": AXES | {"task": "a_n_b_n(most=4)", "hidden": 8, "symbols": 4000, "seed": 0, "seeds": 2},
        "default": AXES | LENGTH | {"seeds": 5},
        "paper": AXES | LENGTH | {"seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
