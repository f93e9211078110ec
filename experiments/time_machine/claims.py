"""What is claimed, and how the table judges it."""

import math
from itertools import pairwise
from typing import Any

import polars as pl

from tbptt_jax.experiments.time_machine.measure import GROUP
from tbptt_jax.lab.claims import Judged, NotMeasured, Verdict, needed
from tbptt_jax.lab.judging import at_best_rate, error_of_difference, judged


def losses(table: pl.DataFrame, *group: str):
    """The mean held-out loss over seeds at the best learning rate, by group, and twice the standard error of the
    difference of two such means, from the spread over seeds in all groups together."""
    best = at_best_rate(table, GROUP)
    means = best.group_by(group).agg(pl.col("held_out").mean()).sort(group)
    return {row[:-1]: row[-1] for row in means.iter_rows()}, error_of_difference(best, GROUP)


def shown(value: Any):
    return f"{math.exp(value):.2f}"


def memory_helps(table: pl.DataFrame):
    found, error = losses(table, "cell", "order", "series")
    trigrams = [value for (cell, _, _), value in found.items() if cell == "trigram"]
    networks = {key: value for key, value in found.items() if key[0] != "trigram" and key[2] == "full()"}
    if not trigrams or not networks:
        raise NotMeasured("a trigram model and networks with full() are needed")
    baseline = min(trigrams)
    said = ", ".join(f"{cell} {order} {shown(value)}" for (cell, order, _), value in networks.items())
    measured = f"perplexity: trigram {shown(baseline)}; full backpropagation {said}"
    return judged([(value, baseline) for value in networks.values()], error, measured)


def longer_is_better(table: pl.DataFrame):
    """In random order, where nothing but the gradient differs."""
    rows = table.filter((pl.col("order") == "random") & pl.col("series").is_in(["segment", "window"]))
    needed(rows, "segments or windows in random order are needed")
    found, error = losses(rows, "cell", "series", "tau")
    pairs, said = [], []
    for cell, name in sorted({key[:2] for key in found}):
        curve = [value for key, value in sorted(found.items()) if key[:2] == (cell, name)]
        pairs += [(longer, shorter) for shorter, longer in pairwise(curve)]
        said.append(f"{cell} {name} {' → '.join(map(shown, curve))}")
    taus = "/".join(str(tau) for tau in sorted({key[2] for key in found}))
    return judged(pairs, error, f"perplexity by τ = {taus}: {'; '.join(said)}")


def artbp_at_equal_memory(table: pl.DataFrame):
    rows = table.filter((pl.col("order") == "sequential") & pl.col("series").is_in(["segment", "artbp"]))
    needed(rows, "segments and artbp in sequential order are needed")
    found, error = losses(rows, "cell", "tau", "series")
    settings = [key[:2] for key in found if key[2] == "artbp" and (*key[:2], "segment") in found]
    pairs = {setting: (found[*setting, "artbp"], found[*setting, "segment"]) for setting in settings}
    said = ", ".join(f"{cell} τ={tau}: {shown(a)} and {shown(b)}" for (cell, tau), (a, b) in pairs.items())
    return judged(list(pairs.values()), error, f"perplexity of artbp and of segments: {said}")


def unbiased_is_no_better(table: pl.DataFrame):
    """Each unbiased estimator on its own against segments of the same length; reproduced where it is not better."""
    is_compared = (pl.col("unbiased") != "never") | (pl.col("series") == "segment")
    rows = table.filter((pl.col("order") == "random") & pl.col("tau").is_not_null() & is_compared)
    needed(rows, "segments and an unbiased truncation in random order are needed")
    found, error = losses(rows, "cell", "tau", "series")
    pairs = {
        key: (found[*key[:2], "segment"], value)
        for key, value in found.items()
        if key[2] != "segment" and (*key[:2], "segment") in found
    }
    if not pairs:
        raise NotMeasured("segments and an unbiased truncation of the same length are needed")
    better = sum(unbiased < segment - error for segment, unbiased in pairs.values())
    worse = sum(unbiased > segment + error for segment, unbiased in pairs.values())
    said = ", ".join(
        f"{cell} τ={tau} {name} {shown(b)} (segment {shown(a)})" for (cell, tau, name), (a, b) in pairs.items()
    )
    measured = f"better than segments in {better}, worse in {worse} of {len(pairs)}: {said}"
    return Verdict("reproduced" if better <= len(pairs) / 10 else "not reproduced", measured)


def order_matters(table: pl.DataFrame):
    """At equal updates; both are evaluated with the state carried over all of the held-out text."""
    found, error = losses(
        needed(table.filter(pl.col("cell") != "trigram"), "networks are needed"), "cell", "series", "tau", "order"
    )
    pairs = [
        (value, found[*key[:3], "random"])
        for key, value in found.items()
        if key[3] == "sequential" and key[1] in ("full()", "window", "randomized") and (*key[:3], "random") in found
    ]
    if not pairs:
        raise NotMeasured("full(), windows or randomized in both orders are needed")
    ratio = math.exp(sum(a - b for a, b in pairs) / len(pairs))
    return judged(pairs, error, f"mean ratio of the perplexities, sequential over random, {ratio:.3f}")


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
PAPER = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"
ESTIMATORS = ["full()", "segment", "window", "randomized", "artbp"]
CLAIMS = (
    Judged("A recurrent network has a smaller perplexity than a trigram model.", CHAPTER, memory_helps),
    Judged("The longer the truncation, the smaller the perplexity.", CHAPTER, longer_is_better),
    Judged("ARTBP has a smaller perplexity than truncation at equal memory.", PAPER, artbp_at_equal_memory),
    Judged("Unbiased truncation works no better in practice.", CHAPTER, unbiased_is_no_better),
    Judged("Sequential partition, the state carried, is better than random windows.", CHAPTER, order_matters),
)
