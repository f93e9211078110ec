"""Languages that must be counted or remembered: bits per symbol above the entropy, by every family of estimators.

Streams of aⁿbⁿ and of distant brackets, whose entropies are known. Equal data: every training reads the same number of
symbols, the state carried; segments make one update every τ steps, the others one every 32.
"""

from math import log

import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import at_best_rate, error_of_difference, in_a_stream, judged, learning_rows
from tbptt_jax.plots.formal_languages import draw

RATES = [1e-3, 3e-3, 1e-2]
CHUNK = 32
GROUP = ["task", "estimator", "tau"]


def clipped_adam(rate):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def measure(config, key):
    est, task, steps_an_update = in_a_stream(estimator_of(config), tb.make_task(config["task"]), CHUNK)
    history = tb.train(
        task.model(config["cell"], config["hidden"]),
        est,
        task,
        clipped_adam,
        steps=round(config["symbols"] / (task.batch_size * steps_an_update)),
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        learning_rates=RATES,
        checkpoint=tb.lab.checkpoint("training"),
    )
    floors = {name: value / log(2) for name, value in task.floors().items()}
    rows = learning_rows(history, RATES, **floors)
    for row in rows:
        row |= {"bits": row["held_out"] / log(2), "curve_bits": row["curve_held_out"] / log(2)}
    return rows


def bits(table):
    """The mean bits over seeds at the best learning rate, and twice the standard error of the difference of two."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(GROUP).agg(pl.col("bits", "best", "blind").mean())
    errors = [
        {"task": task, "error": error_of_difference(part, GROUP, "bits")} for (task,), part in best.group_by("task")
    ]
    return means.join(pl.DataFrame(errors), on="task").sort(GROUP)


def words(rows):
    return ", ".join(
        f"{name}{f' {tau}' if tau else ''} {value:.3f}"
        for name, tau, value in rows.select("estimator", "tau", "bits").iter_rows()
    )


def fewer(table, choose):
    """The verdict on pairs of rows (what should need fewer bits, the other) that are chosen of each task."""
    pairs, said = [], []
    for (task,), part in bits(table).group_by("task", maintain_order=True):
        error = part["error"][0]
        for better, other in choose(part):
            pairs.append((better["bits"][0] / error, other["bits"][0] / error))
            said.append(f"{task}: {words(better)}, {words(other)} (± {error:.3f})")
    return judged(pairs, 1.0, "bits per symbol, " + "; ".join(said))


def segments(part):
    return part.filter(pl.col("estimator") == "segment").sort("tau")


def longer_segments_learn_more(table):
    return fewer(table, lambda part: [(segments(part).tail(1), segments(part).head(1))])


def forward_beats_short_truncation(table):
    """UORO carries credit over all steps with the memory of one."""
    return fewer(table, lambda part: [(part.filter(pl.col("estimator") == "uoro()"), segments(part).head(1))])


def best_gates_need_fewer(table):
    """As many states are kept for the gated backward pass; the estimate of the best gates keeps all for another one."""

    def at_each_length(part):
        rows = part.filter(pl.col("estimator").is_in(["optimal", "randomized"]))
        for _, both in rows.sort("estimator").group_by("tau", maintain_order=True):
            if both.height == 2:
                yield both.head(1), both.tail(1)

    return fewer(table, at_each_length)


def recalled(table):
    """Against the bits of the best predictor that cannot recall."""
    rows = bits(table)
    full = rows.filter(pl.col("estimator") == "full()")
    pairs = [(bits / error, blind / error) for bits, blind, error in full.select("bits", "blind", "error").iter_rows()]
    said = "; ".join(
        f"{task} (blind {part['blind'][0]:.3f} ± {part['error'][0]:.3f}): "
        f"{words(part.filter(pl.col('bits') < pl.col('blind'))) or 'none'}"
        for (task,), part in rows.group_by("task", maintain_order=True)
    )
    return judged(pairs, 1.0, f"below the bits without recall: {said}")


UORO = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
AXES = {
    "task": ["a_n_b_n(most=8)", "brackets()"],
    "estimator": [
        "full()",
        "segment",
        "artbp",
        "randomized",
        "optimal",
        "snap()",
        "uoro()",
        "kf_rtrl()",
        "rflo()",
        "pes(particles=16, chunks=8)",
    ],
    "tau": [2, 4, 16],
    "cell": "lstm",
    "hidden": 24,
}
experiment = Experiment(
    name="formal_languages",
    source=UORO,
    summary="bits per symbol on aⁿbⁿ and distant brackets, by every family of estimators",
    axes={
        "smoke": AXES | {"task": "a_n_b_n(most=4)", "tau": [2, 8], "symbols": 50_000, "seeds": 1},
        "default": AXES | {"tau": [2, 4, 16], "symbols": 1_000_000, "seeds": 2},
        "paper": AXES
        | {"task": ["a_n_b_n()", "brackets()"], "tau": [2, 16, 64], "hidden": 64, "symbols": 10**8, "seeds": 5},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("The longer the truncation, the fewer the bits.", UORO, longer_segments_learn_more),
        Claim("UORO needs fewer bits than the shortest truncation.", UORO, forward_beats_short_truncation),
        Claim("The best gates need fewer bits than equal ones.", "this package", best_gates_need_fewer),
        Claim("Full backpropagation over chunks of 32 learns to recall.", "textbook practice", recalled),
    ),
)
