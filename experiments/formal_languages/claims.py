"""What is claimed, and how the table judges it."""

from collections.abc import Callable

import polars as pl

from tbptt_jax.experiments.formal_languages.measure import GROUP
from tbptt_jax.lab.claims import Judged, needed
from tbptt_jax.lab.judging import at_best_rate, error_of_difference, judged


def bits(table: pl.DataFrame):
    """The mean bits over seeds at the best learning rate, and twice the standard error of the difference of two."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(GROUP).agg(pl.col("bits", "best", "blind").mean())
    errors = [
        {"task": task, "error": error_of_difference(part, GROUP, "bits")} for (task,), part in best.group_by("task")
    ]
    return means.join(pl.DataFrame(errors), on="task").sort(GROUP)


def words(rows: pl.DataFrame):
    return ", ".join(
        f"{name}{f' {tau}' if tau else ''} {value:.3f}"
        for name, tau, value in rows.select("series", "tau", "bits").iter_rows()
    )


def fewer(table: pl.DataFrame, choose: Callable):
    """The verdict on pairs of rows (what should need fewer bits, the other) that are chosen of each task."""
    pairs, said = [], []
    for (task,), part in bits(table).group_by("task", maintain_order=True):
        error = part["error"][0]
        for better, other in choose(part):
            needed(better, "the better one is needed")
            needed(other, "the other one is needed")
            pairs.append((better["bits"][0] / error, other["bits"][0] / error))
            said.append(f"{task}: {words(better)}, {words(other)} (± {error:.3f})")
    return judged(pairs, 1.0, "bits per symbol, " + "; ".join(said))


def segments(part: pl.DataFrame):
    return part.filter(pl.col("series") == "segment").sort("tau")


def longer_segments_learn_more(table: pl.DataFrame):
    return fewer(table, lambda part: [(segments(part).tail(1), segments(part).head(1))])


def forward_beats_short_truncation(table: pl.DataFrame):
    """UORO carries credit over all steps with the memory of one."""
    return fewer(table, lambda part: [(part.filter(pl.col("series") == "uoro()"), segments(part).head(1))])


def best_gates_need_fewer(table: pl.DataFrame):
    """As many states are kept for the gated backward pass; the estimate of the best gates keeps all for another one."""

    def at_each_length(part):
        rows = part.filter(pl.col("series").is_in(["optimal", "randomized"]))
        for _, both in rows.sort("series").group_by("tau", maintain_order=True):
            if both.height == 2:
                yield both.head(1), both.tail(1)

    return fewer(table, at_each_length)


def recalled(table: pl.DataFrame):
    """Against the bits of the best predictor that cannot recall."""
    rows = bits(table)
    full = needed(rows.filter(pl.col("series") == "full()"), "full() is needed")
    pairs = [(bits / error, blind / error) for bits, blind, error in full.select("bits", "blind", "error").iter_rows()]
    said = "; ".join(
        f"{task} (blind {part['blind'][0]:.3f} ± {part['error'][0]:.3f}): "
        f"{words(part.filter(pl.col('bits') < pl.col('blind'))) or 'none'}"
        for (task,), part in rows.group_by("task", maintain_order=True)
    )
    return judged(pairs, 1.0, f"below the bits without recall: {said}")


UORO = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
CLAIMS = (
    Judged("The longer the truncation, the fewer the bits.", UORO, longer_segments_learn_more),
    Judged("UORO needs fewer bits than the shortest truncation.", UORO, forward_beats_short_truncation),
    Judged("The best gates need fewer bits than equal ones.", "this package", best_gates_need_fewer),
    Judged("Full backpropagation over chunks of 32 learns to recall.", "textbook practice", recalled),
)
