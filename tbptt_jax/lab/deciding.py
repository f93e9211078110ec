"""What it would take to decide a claim that is open."""

from collections.abc import Iterable, Mapping
from typing import Any

from tbptt_jax.lab.claims import Claim
from tbptt_jax.records.record import canonical


def seconds_to_decide(claim: Claim, seeds: int, spent: Iterable[tuple[Mapping[str, Any], float]]) -> float:
    """Seconds of one process until all that a claim is about has so many seeds, at the pace of what was measured of it:
    the columns of each cell, and the seconds that it took. 0 where no number of seeds is known."""
    if seeds <= 0:
        return 0.0
    settings: dict[bytes, tuple[Mapping[str, Any], int, float]] = {}
    for columns, seconds in spent:
        setting = canonical({name: value for name, value in columns.items() if name != "seed"})
        _, measured, taken = settings.get(setting, (columns, 0, 0.0))
        settings[setting] = columns, measured + columns.get("seeds", 1), taken + seconds
    return sum(
        max(0, seeds - measured) * taken / measured
        for columns, measured, taken in settings.values()
        if claim.concerns(columns)
    )
