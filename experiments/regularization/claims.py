"""What is claimed, and how the table judges it."""

import polars as pl

from tbptt_jax.experiments.regularization.measure import GROUP
from tbptt_jax.lab.claims import Judged, NotMeasured, Verdict, needed


def means(table: pl.DataFrame):
    columns = ["held_out", "best_held_out", "train_loss", "gap", "radius", "decay", "horizon"]
    return table.group_by([*GROUP, "unbiased"]).agg(pl.col(columns).mean()).sort(GROUP)


TRUNCATED = (pl.col("unbiased") == "never") & pl.col("tau").is_not_null()


def trend(table: pl.DataFrame, column: str):
    """For each truncation, a column against τ, and whether it rises from the shortest to the longest."""
    rows = needed(means(table).filter(TRUNCATED), "a truncation with a τ is needed").sort("tau")
    found = {name: part[column].to_list() for (name,), part in rows.group_by("series", maintain_order=True)}
    found = {name: values for name, values in sorted(found.items()) if len(values) > 1}
    if not found:
        raise NotMeasured("two lengths are needed")
    said = "; ".join(f"{name} {' → '.join(f'{value:.3g}' for value in values)}" for name, values in found.items())
    return all(values[-1] > values[0] for values in found.values()), said


def the_full(table: pl.DataFrame, column: str):
    rows = means(table).filter((pl.col("series") == "full()") & (pl.col("zoneout") == 0))
    return needed(rows, "full() without zoneout is needed")[column][0]


def truncation_shortens_memory(table: pl.DataFrame):
    rises, said = trend(table, "horizon")
    taus = "/".join(str(tau) for tau in sorted(table["tau"].drop_nulls().unique()))
    measured = f"horizon in steps, by τ = {taus}: {said}; full {the_full(table, 'horizon'):.3g}"
    return Verdict("reproduced" if rises else "not reproduced", measured)


def truncation_closes_the_gap(table: pl.DataFrame):
    rises, said = trend(table, "gap")
    measured = f"held-out minus training loss (nats), by τ: {said}; full {the_full(table, 'gap'):.3g}"
    return Verdict("reproduced" if rises else "not reproduced", measured)


def truncation_generalizes_better(table: pl.DataFrame):
    rows = means(table)
    full = the_full(table, "held_out")
    cut = needed(rows.filter(TRUNCATED), "a truncation with a τ is needed")
    better = cut.filter(pl.col("held_out") < full)
    zoneout = needed(rows.filter(pl.col("zoneout") > 0), "zoneout is needed")
    measured = (
        f"held-out loss at the end: full {full:.3f}, truncated {cut['held_out'].min():.3f} to "
        f"{cut['held_out'].max():.3f} (better than full in {better.height} of {cut.height}), zoneout "
        f"{zoneout['held_out'].min():.3f} at best; at its best moment: full {the_full(table, 'best_held_out'):.3f}, "
        f"truncated {cut['best_held_out'].min():.3f} at best"
    )
    return Verdict("reproduced" if better.height > cut.height / 2 else "not reproduced", measured)


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
CLAIMS = (
    Judged("A model that is trained with short truncation looks back less far.", CHAPTER, truncation_shortens_memory),
    Judged("Truncation makes the gap between training and held-out loss smaller.", CHAPTER, truncation_closes_the_gap),
    Judged(
        "Truncation regularizes: held-out loss is smaller than with full gradients.",
        CHAPTER,
        truncation_generalizes_better,
    ),
)
