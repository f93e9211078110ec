"""What is claimed, and how the table judges it."""

from typing import Any

import polars as pl

from tbptt_jax.experiments.influence_balancing.measure import GROUP, NEAR, SHORT
from tbptt_jax.lab.claims import Judged, NotMeasured, Verdict, needed
from tbptt_jax.lab.judging import at_best_rate

# from chunk to chunk; what snap keeps is all of it here, where the one parameter acts on every unit
CARRYING = ["rtrl", "snap", "uoro", "pes", "nres"]


def arrived(table: pl.DataFrame):
    """For each estimator and lengths, at its best learning rate: whether all seeds ended near the best θ; the slope."""
    best = at_best_rate(table, GROUP, "distance")
    return best.group_by(GROUP).agg(
        (pl.col("distance") < NEAR).all().alias("arrived"),
        pl.col("slope", "method", "unbiased").first(),
        pl.col("distance").max(),
    )


def by_length(table: pl.DataFrame, name: str):
    rows = needed(arrived(table).filter(pl.col("series") == name), f"{name}s are needed").sort("tau")
    return dict(zip(rows["tau"], rows["slope"])), dict(zip(rows["tau"], rows["arrived"]))


def switches_at(table: pl.DataFrame):
    """Where the slope turns negative, for windows and segments: the best θ lies below the first."""
    found = {}
    for name in ("window", "segment"):
        slopes, _ = by_length(table, name)
        wrong = max((tau for tau, slope in slopes.items() if slope > 0), default=0)
        right = [tau for tau in slopes if tau > wrong]
        if not right:
            raise NotMeasured(f"{name}s of a length with the right sign are needed")
        found[name] = wrong, min(right)
    measured = "; ".join(
        f"{name}s have the wrong sign up to τ = {a}, the right one from {b}" for name, (a, b) in found.items()
    )
    exact = found == {"window": (40, 41), "segment": (109, 110)}
    return Verdict("reproduced" if exact else "not reproduced", measured)


def short_truncation_diverges(table: pl.DataFrame):
    measured, good = [], True
    for name, first in (("window", 41), ("segment", 110)):
        _, learned = by_length(table, name)
        good &= all(ok == (tau >= first) for tau, ok in learned.items())
        no, yes = ([tau for tau, ok in learned.items() if ok is want] for want in (False, True))
        measured.append(f"{name}s: τ = {words(no)} end elsewhere, {words(yes)} arrive")
    return Verdict("reproduced" if good else "not reproduced", "; ".join(measured))


def words(taus: Any):
    return ", ".join(map(str, taus)) or "none"


def segments_of_the_literature(table: pl.DataFrame):
    _, learned = by_length(table, "segment")
    if not {10, 100, 200} <= learned.keys():
        raise NotMeasured("segments of 10, 100 and 200 are needed")
    good = not learned[10] and not learned[100] and learned[200]
    return Verdict(
        "reproduced" if good else "not reproduced", f"arrived: { ({t: learned[t] for t in (10, 100, 200)}) }"
    )


def ended(table: pl.DataFrame, short: bool):
    """For every estimator but windows and segments, with short chunks or long ones: where it ended."""
    rows = arrived(table).filter(~pl.col("series").is_in(["window", "segment"])).sort("series")
    rows = rows.filter((pl.col("length") == SHORT) == short)
    return needed(
        rows, f"an estimator other than windows and segments is needed, in {'short' if short else 'long'} chunks"
    )


def where(rows: pl.DataFrame):
    return "; ".join(
        f"{name} {'arrives' if ok else f'at a distance of {far:.2g}'}"
        for name, ok, far in rows.select("series", "arrived", "distance").iter_rows()
    )


def unbiased_converges(table: pl.DataFrame):
    unbiased = ended(table, short=False).filter(pl.col("unbiased") != "never")
    rows = needed(unbiased, "an unbiased estimator is needed")
    return Verdict("reproduced" if rows["arrived"].all() else "not reproduced", where(rows))


def only_streams_converge(table: pl.DataFrame):
    rows = ended(table, short=True)
    crosses = pl.col("method").is_in(CARRYING)
    good = rows.filter(pl.col("arrived") == crosses).height == rows.height
    return Verdict("reproduced" if good else "not reproduced", where(rows.sort("arrived", descending=True)))


TALLEC = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
CLAIMS = (
    Judged("Windows point the right way from τ = 41 on, segments from τ = 110.", "exact lag sums", switches_at),
    Judged(
        "Shorter truncation does not converge at any learning rate; longer does.", TALLEC, short_truncation_diverges
    ),
    Judged("Segments of 10 and 100 fail, segments of 200 converge.", TALLEC, segments_of_the_literature),
    Judged("Unbiased estimators converge.", "Tallec & Ollivier 2017", unbiased_converges),
    Judged(
        "With chunks of 10 steps, those that carry an influence or perturbed states on converge, and no others.",
        "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies",
        only_streams_converge,
    ),
)
