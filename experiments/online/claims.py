"""What is claimed of the losses on the report set; rates and moments are chosen on another."""

import polars as pl

from tbptt_jax.lab.claims import Claim, Side

MARSCHALL = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"
MARGIN = 0.02
"""A part of the loss: the least difference that matters."""


def of(method: str, cell: str = "tanh") -> Side:
    where = (pl.col("method") == method) & (pl.col("cell") == cell)
    return Side(f"{method} in {cell} networks", where, best=("learning_rate",))


def compare(
    sentence: str, source: str, ours: Side, theirs: Side, direction: str = "below", each: str = "task"
) -> Claim:
    return Claim(sentence, source, "report", ours, theirs, direction, MARGIN, True, (each,))


CLAIMS = (
    compare(
        "The derivative of the one step alone suffices: it is level with the exact gradient.",
        *("Marschall, Cho & Savin 2019, Evaluating biological plausibility of learning algorithms the lazy way",),
        *(of("window"), of("rtrl"), "level"),
    ),
    compare("UORO ends below the derivative of one step.", "Tallec & Ollivier 2018", of("uoro"), of("window")),
    compare("SnAp-1 ends below UORO.", "Menick et al. 2021", of("snap"), of("uoro")),
    compare("KF-RTRL ends below UORO.", "Mujika, Meier & Steger 2018", of("kf_rtrl"), of("uoro")),
    compare("OK ends below KF-RTRL.", "Benzing et al. 2019", of("ok"), of("kf_rtrl")),
    compare("A sketch of the rest ends below SnAp-1 alone.", "sketched RTRL, 2026", of("sketched"), of("snap")),
    compare(
        "RFLO, which is further from the gradient than SnAp-1, ends level with it: alignment does not tell.",
        *(MARSCHALL, of("rflo"), of("snap"), "level"),
    ),
    compare(
        "Looking back over 8 steps at every symbol ends level with the exact gradient.",
        *("Williams & Peng 1990", of("rolling"), of("rtrl"), "level"),
    ),
    compare(
        "An update every 8 symbols, by segments, ends above one every symbol that looks back as far.",
        *("textbook practice", of("segment"), of("rolling"), "above"),
    ),
    compare("A critic of what is to come ends below one step alone.", "Jaderberg et al. 2017", of("dni"), of("window")),
    compare(
        "In LSTMs e-prop, which carries what a unit keeps of itself, ends below the derivative of one step.",
        *("Bellec et al. 2020", of("eprop", "lstm"), of("window", "lstm")),
    ),
    compare(
        "In LSTMs e-prop ends level with SnAp-1, which lets a unit's own recurrent weights count too.",
        *("this package", of("eprop", "lstm"), of("snap", "lstm"), "level"),
    ),
    compare(
        "Element-wise LSTMs, whose exact gradient costs no more than SnAp-1, end below tanh networks with theirs.",
        *("Irie, Gopalakrishnan & Schmidhuber 2024", of("rtrl", "elstm"), of("rtrl")),
    ),
)
