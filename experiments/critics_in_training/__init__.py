"""Does unbiased truncation learn more with a critic? Trainings with one and without, at equal data and updates.

The critic learns beside the network, from the credits that its backward passes make: it follows a target that moves,
which `critics` leaves out. Beside it stand the exact gradient and segments with random offsets; in the papers' size
also segments with critics, which are synthetic gradients.
"""

from tbptt_jax.experiments.critics_in_training.claims import CLAIMS
from tbptt_jax.experiments.critics_in_training.figures import draw
from tbptt_jax.experiments.critics_in_training.measure import measure
from tbptt_jax.lab.experiment import Experiment


def ways(tau: int, *critics: str, synthetic: bool = False) -> dict:
    """The axis of estimators: the exact gradient, each truncation alone, and randomized truncation with critics; with
    `synthetic` also segments with critics, which are synthetic gradients."""
    segment, randomized = f"segment(tau={tau}, offset='random'", f"randomized(keep={1 - 1 / tau}"
    alone = ["full()", f"{segment})", f"{randomized})"]
    starts = [segment, randomized] if synthetic else [randomized]
    return {"estimator": [*alone, *(f"{start}, critic={critic})" for start in starts for critic in critics)]}


EPISODES = ["copy(length=60, longest=10)", "recall(distance=20)", "agreement(distance=20)"]
ADDING = "adding(length=50)"
experiment = Experiment(
    name="critics_in_training",
    source='the lecture: unbiased truncation works no better in practice, "but maybe somebody can make it work"',
    summary="whether unbiased truncation learns more where a critic predicts what is cut",
    axes={
        "smoke": ways(4, "features(count=32)")
        | {"task": ["recall(distance=8)"], "cell": "tanh"}
        | {"batch": 8, "hidden": 8, "updates": 150, "seeds": 3, "seed": 0},
        "default": ways(8, "features(count=64)")
        | {
            "task": [*EPISODES, ADDING, "time_machine(length=64)"],
            "cell": "tanh",
            "batch": 16,
            "hidden": 32,
            "updates": 2000,
            "seeds": 20,
            "seed": 1,  # others than those after which the rules were written
        },
        "paper": ways(8, "linear()", "features(count=512)", "mlp(width=128)", synthetic=True)
        | {
            "task": [*EPISODES, ADDING, "time_machine(length=64)", "brackets(length=64)"],
            "cell": ["tanh", "gru", "lstm"],
            "batch": [1, 16, 128],
            "hidden": 64,
            "updates": 20_000,
            "seeds": 10,
            "seed": 0,
        },
    },
    measure=measure,
    plot=draw,
    claims=CLAIMS,
)
