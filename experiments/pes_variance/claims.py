"""What is claimed, and how the table judges it."""

from typing import Any

import polars as pl

from tbptt_jax.lab.claims import Judged, NotMeasured, Verdict, needed


def curve(table: pl.DataFrame, kind: Any, name: str):
    rows = table.filter((pl.col("stream") == kind) & (pl.col("method") == name)).sort("unroll")
    if rows.height < 2:
        raise NotMeasured(f"{name} is needed on the {kind} stream, with two lengths of an unroll")
    return rows


def said(rows: pl.DataFrame):
    return " → ".join(f"{value:.3g} ± {error:.1g}" for value, error in rows.select("variance", "error").iter_rows())


def falls(rows: pl.DataFrame, sign: int):
    """Whether the variance falls (+1) or rises (−1) from the shortest unroll to the longest, beyond both intervals."""
    first, last, errors = rows["variance"][0], rows["variance"][-1], rows["error"][0] + rows["error"][-1]
    measured = f"variance / ‖g‖² for unrolls of {', '.join(map(str, rows['unroll']))}: {said(rows)}"
    if abs(first - last) <= errors:
        return Verdict("undecided", measured)
    return Verdict("reproduced" if sign * (first - last) > 0 else "not reproduced", measured)


def pes_on_random_text(table: pl.DataFrame):
    return falls(curve(table, "random", "pes"), 1)


def pes_on_a_constant_stream(table: pl.DataFrame):
    return falls(curve(table, "constant", "pes"), -1)


def nres_has_less(table: pl.DataFrame):
    found, less, more, count = [], 0, 0, 0
    for kind in ("random", "constant"):
        pes, nres = curve(table, kind, "pes"), curve(table, kind, "nres")
        both = pes.join(nres, on="unroll", suffix="_nres").sort("unroll").filter(pl.col("unroll") < pl.col("steps"))
        errors, apart = pl.col("error") + pl.col("error_nres"), pl.col("variance") - pl.col("variance_nres")
        less += both.filter(apart > errors).height
        more += both.filter(apart < -errors).height
        count += both.height
        found.append(f"{kind}: nres {said(nres)}, pes {said(pes)}")
    measured = f"less in {less} of {count}, more in {more}, beyond both intervals; {'; '.join(found)}"
    outcome = "not reproduced" if more else "reproduced" if less >= 0.9 * count else "undecided"
    return Verdict(outcome, measured)


def truncated_es_is_biased(table: pl.DataFrame):
    """A bias is seen where its square is beyond 5 times the noise that it has without one."""
    rows = table.filter(pl.col("unroll") < pl.col("steps"))
    seen = pl.col("squared_bias") > 5 * pl.col("bias_noise")
    biased = needed(rows.filter(pl.col("method") == "truncated_es"), "truncated_es is needed")
    fair = needed(rows.filter(pl.col("method").is_in(["pes", "nres"])), "pes or nres is needed")
    clear, wrong = biased.filter(seen).height, fair.filter(seen).height
    measured = (
        f"bias² beyond 5 times its noise: truncated_es in {clear} of {biased.height}, pes and nres in {wrong} of "
        f"{fair.height}, whose noise is {fair['bias_noise'].median():.2g} ‖g‖² in the middle"
    )
    good = clear >= 0.75 * biased.height and not wrong
    return Verdict("not reproduced" if wrong else "reproduced" if good else "undecided", measured)


VICOL = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"
LI = "Li et al. 2023, Noise-reuse in online evolution strategies"
ESTIMATORS = [f"{name}(particles=1)" for name in ("truncated_es", "pes", "nres")]
CLAIMS = (
    Judged("The variance of PES grows with the number of unrolls, where these are random.", VICOL, pes_on_random_text),
    Judged("It falls with their number, where they are all alike.", VICOL, pes_on_a_constant_stream),
    Judged("Reusing the noise has less variance than drawing it anew for every chunk.", LI, nres_has_less),
    Judged("Truncated ES is biased, PES and NRES are not.", VICOL, truncated_es_is_biased),
)
