"""What is claimed of the bits a symbol that were lost over the stream's last twentieth, at the paper's rate."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

UORO = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
MARGIN = 0.002
"""Bits a symbol: the least difference that matters, and what UORO gained on segments of two steps in the paper."""


def of(estimator: str, cell: str, quantity: str = "") -> Side:
    where = (pl.col("estimator") == estimator) & (pl.col("cell") == cell)
    return Side(f"{estimator} in {cell} networks", where, quantity=quantity)


def compare(sentence: str, source: str, ours: str, theirs: str, cell: str = "gru", quantity: str = "") -> Claim:
    return Claim(sentence, source, "bits", of(ours, cell), of(theirs, cell, quantity), "below", MARGIN, each=("task",))


ONE, TWO, SIXTEEN = "segment(tau=1)", "segment(tau=2)", "segment(tau=16)"
CLAIMS = (
    compare("After two million symbols, UORO needs fewer bits than segments of one step.", UORO, "uoro()", ONE),
    compare("After two million symbols, UORO needs fewer bits than segments of two steps.", UORO, "uoro()", TWO),
    compare("After two million symbols, segments of 16 steps need fewer bits than UORO.", UORO, SIXTEEN, "uoro()"),
    compare(
        "Segments of one step, across which no credit passes, need fewer bits than what cannot recall.",
        *(UORO, ONE, ONE, "gru", "blind"),
    ),
    compare(
        "After 100,000 symbols, SnAp-1 needs fewer bits than UORO.", "Menick et al. 2021", "snap()", "uoro()", "lstm"
    ),
    compare(
        "After 100,000 symbols, KF-RTRL needs fewer bits than UORO.",
        *(
            "Mujika, Meier & Steger 2018, Approximating RTRL with random Kronecker factors",
            "kf_rtrl()",
            "uoro()",
            "lstm",
        ),
    ),
    compare(
        "After 100,000 symbols, OK needs fewer bits than UORO.",
        *("Benzing et al. 2019, Optimal Kronecker-sum approximation of RTRL", "ok()", "uoro()", "lstm"),
    ),
    compare("After 100,000 symbols, RTRL needs fewer bits than UORO.", UORO, "rtrl()", "uoro()", "lstm"),
    compare(
        "After 100,000 symbols, RTRL needs fewer bits than SnAp-1.", "Menick et al. 2021", "rtrl()", "snap()", "lstm"
    ),
    compare(
        "After 100,000 symbols, a critic of what is to come needs fewer bits than segments of one step.",
        *("Jaderberg et al. 2017", "dni(tau=1)", ONE, "lstm"),
    ),
)
