"""What is claimed of the distance from the best θ at which training ends, and what holds by construction."""

import polars as pl

from tbptt_jax.experiments.influence_balancing.measure import LONG, NEAR
from tbptt_jax.lab.claims import Check, Claim, NotMeasured, Side, needed

TALLEC = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
VICOL = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"
SERIES, TAU, LENGTH = pl.col("series"), pl.col("tau"), pl.col("length")
FIRST = {"window": 41, "segment": 110}
"""The first lengths that see enough."""
CARRYING = ["rtrl", "pes", "nres"]


def switches_at(table: pl.DataFrame):
    """Where the slope turns negative, for windows and segments: the best θ lies below the first."""
    found = {}
    for name in FIRST:
        rows = needed(table.filter(name == SERIES), f"{name}s are needed")
        slopes = dict(zip(rows["tau"], rows["slope"]))
        if not {FIRST[name] - 1, FIRST[name]} <= slopes.keys():
            raise NotMeasured(f"{name}s of {FIRST[name] - 1} and {FIRST[name]} are needed")
        wrong = max((tau for tau, slope in slopes.items() if slope > 0), default=0)
        found[name] = wrong, min((tau for tau in slopes if tau > wrong), default=0)
    said = "; ".join(
        f"{name}s have the wrong sign up to τ = {a}, the right one from {b}" for name, (a, b) in found.items()
    )
    return found == {name: (first - 1, first) for name, first in FIRST.items()}, said


def ends(sentence: str, source: str, name: str, where: pl.Expr, direction: str, each: tuple) -> Claim:
    """Where training ends at the learning rate that ends nearest, by medians: one that runs away is far indeed."""
    side = Side(name, where, best=("learning_rate",), chosen_by="distance")
    return Claim(sentence, source, "distance", side, NEAR, direction, 0.0, True, each, average="median")


def truncated(name: str, enough: bool) -> Claim:
    first = FIRST[name]
    where = (name == SERIES) & ((first <= TAU) if enough else (first > TAU))
    if enough:
        return ends(
            f"{name.title()}s of {first} steps and more arrive.", TALLEC, f"long {name}s", where, "below", ("tau",)
        )
    sentence = f"{name.title()}s of fewer than {first} steps end elsewhere at every learning rate."
    return ends(sentence, TALLEC, f"short {name}s", where, "above", ("tau",))


def of(methods: list[str], *lengths: int) -> pl.Expr:
    return pl.col("method").is_in(methods) & TAU.is_null() & LENGTH.is_in(lengths)


def of_a_chunk(*lengths: int) -> pl.Expr:
    """Whatever is unbiased within its chunk, of a user's own too, but for what is measured along τ."""
    return (pl.col("unbiased") == "chunk") & TAU.is_null() & LENGTH.is_in(lengths)


CHECKS = (Check("Windows point the right way from τ = 41 on, segments from τ = 110.", "exact lag sums", switches_at),)
CLAIMS = (
    *(truncated(name, enough) for name in FIRST for enough in (False, True)),
    ends(
        "Estimators that are unbiased within a chunk arrive, with an update every 400 steps.",
        *("Tallec & Ollivier 2017", "unbiased estimators of a chunk", of_a_chunk(LONG), "below", ("series",)),
    ),
    ends(
        "With an update every 100 or 10 steps they end elsewhere at every learning rate.",
        *(VICOL, "unbiased estimators of a chunk", of_a_chunk(100, 10), "above", ("series", "length")),
    ),
    ends(
        "Those that carry the influence or perturbed states on arrive, with an update every 100 steps, every 10, and "
        "every step.",
        *(VICOL, "estimators that carry on", of(CARRYING, 100, 10, 1), "below", ("method", "length")),
    ),
    *(
        ends(f"UORO arrives, with an update {often}.", TALLEC, "uoro", of(["uoro"], *lengths), "below", ("length",))
        for often, lengths in (("every 100 or 10 steps", (100, 10)), ("every step", (1,)))
    ),
    ends(
        "RFLO, whose influence leaves out all but a unit's own, ends elsewhere.",
        *("this package", "rflo", of(["rflo"], 100, 10, 1), "above", ("length",)),
    ),
)
