"""Is the derivative of one step alone enough, with the optimizer of those who say so?

That "immediate derivatives suffice" was shown with RMSprop, one update a symbol. `online` contradicts it with Adam.
Here the same networks learn the same streams by either, and by plain gradient descent.
"""

from tbptt_jax.experiments.online_optimizers.claims import CLAIMS, LAZY
from tbptt_jax.experiments.online_optimizers.figures import draw
from tbptt_jax.experiments.online_optimizers.measure import OPTIMIZERS, measure
from tbptt_jax.lab.experiment import Experiment

AXES = {"estimator": ["window(tau=1)", "rtrl()"], "optimizer": list(OPTIMIZERS), "cell": "tanh", "hidden": 16}
experiment = Experiment(
    name="online_optimizers",
    source=LAZY,
    summary="one update a symbol by Adam, RMSprop and plain descent: is the derivative of one step enough?",
    axes={
        "smoke": AXES | {"task": "delayed_sum()", "symbols": 2000, "seeds": 3, "seed": 0},
        "default": AXES
        | {"task": ["delayed_sum()", "mimic()", "a_n_b_n(most=8)"], "symbols": 100_000, "seeds": 10, "seed": 100},
        "paper": AXES
        | {"task": ["delayed_sum()", "mimic()", "a_n_b_n()"], "hidden": 64}
        | {"symbols": 10**7, "seeds": 10, "seed": 100},
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
