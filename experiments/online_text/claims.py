"""What is claimed of the losses on the report set; rates and moments are chosen on another."""

from dataclasses import replace
from functools import partial

import polars as pl

from tbptt_jax.experiments.online import claims as online
from tbptt_jax.experiments.time_machine.claims import COUNTED
from tbptt_jax.lab.claims import Side

ALL, SUMMED = ("tanh", "lstm", "gru"), ("tanh", "lstm")
"""Cells; those whose weights act through one sum, as KF-RTRL and OK need it."""


def of(method: str, cells: tuple[str, ...] = ALL) -> Side:
    where = (pl.col("method") == method) & pl.col("cell").is_in(cells)
    return Side(f"{method} in {', '.join(cells)} networks", where, best=("learning_rate",))


compare = partial(online.compare, each="cell")
CLAIMS = (
    compare(
        "On text the derivative of the one step alone suffices: it is level with looking back over 8 at every symbol.",
        *("Marschall, Cho & Savin 2019, Evaluating biological plausibility of learning algorithms the lazy way",),
        *(of("window"), of("rolling"), "level"),
    ),
    compare(
        "On text, in tanh networks, looking back over 8 steps at every symbol ends level with the exact gradient.",
        *("Williams & Peng 1990", of("rolling", ("tanh",)), of("rtrl", ("tanh",)), "level"),
    ),
    compare(
        "On text SnAp-1 at every symbol ends below segments of 8 steps.",
        *("Menick et al. 2021", of("snap", SUMMED), of("segment", SUMMED)),
    ),
    compare(
        "On text SnAp-1 ends below UORO.",
        *("Menick et al. 2021", of("snap", SUMMED), of("uoro", SUMMED)),
    ),
    compare(
        "On text UORO ends below the derivative of one step.",
        *("Tallec & Ollivier 2018", of("uoro"), of("window")),
    ),
    compare(
        "On text KF-RTRL ends below UORO.",
        *("Mujika, Meier & Steger 2018", of("kf_rtrl", SUMMED), of("uoro", SUMMED)),
    ),
    compare(
        "On text OK ends below KF-RTRL.",
        *("Benzing et al. 2019", of("ok", SUMMED), of("kf_rtrl", SUMMED)),
    ),
    compare(
        "On text, in LSTMs, e-prop ends below the derivative of one step.",
        *("Bellec et al. 2020", of("eprop", ("lstm",)), of("window", ("lstm",))),
    ),
    compare(
        "On text a critic of what is to come ends below one step alone.",
        *("Jaderberg et al. 2017", of("dni"), of("window")),
    ),
    compare(
        "On text an update every 8 symbols, by segments, ends above one every symbol that looks back as far.",
        *("textbook practice", of("segment"), of("rolling"), "above"),
    ),
    compare(
        "GRUs that read a text once and look back over 8 steps at every symbol end below the trigram counted on it.",
        *(COUNTED, of("rolling", ("gru",)), replace(of("rolling", ("gru",)), quantity="ngram_3")),
    ),
)
