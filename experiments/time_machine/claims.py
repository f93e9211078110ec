"""What is claimed of the reported losses, at the learning rate and the moment that the selection set chooses."""

import polars as pl

from tbptt_jax.experiments.sources import CHAPTER
from tbptt_jax.lab.claims import Claim, Side

MARGIN = 0.01
"""Nats a symbol: the least difference that matters."""
PAPER = "Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time"
COUNTED = "what a network must know before it says anything about memory"
TAU = pl.col("tau")


def of(series: str, updates: str = "every chunk", order: str = "sequential", where: pl.Expr | None = None) -> Side:
    """Trainings at their best learning rate."""
    is_it = (pl.col("series") == series) & (pl.col("updates") == updates) & (pl.col("order") == order)
    name = f"{series}, updates {updates}, {order}"
    return Side(name, is_it if where is None else is_it & where, best=("learning_rate",))


def compare(
    sentence: str,
    source: str,
    ours: Side,
    theirs: Side,
    direction: str = "below",
    each: tuple = (),
    quantity: str = "report",
) -> Claim:
    return Claim(sentence, source, quantity, ours, theirs, direction, MARGIN, each=each)


def counted(column: str) -> Side:
    """The loss of n-grams, which is the same in every row of full backpropagation."""
    side = of("full()")
    return Side(column, side.where, side.best, quantity=column)


OF_ONE = "segment(tau=1)"
"""Across which no credit passes. It is no value of τ, since methods that draw their cuts have no such length."""
LONGEST, SHORTEST = TAU.max() == TAU, TAU.min() == TAU
CLAIMS = (
    compare(
        "A network that is trained with all credit beats the counted trigram.",
        *(COUNTED, of("full()"), counted("ngram_3")),
    ),
    compare(
        "A network that is trained with all credit beats the best counted n-gram.",
        *(COUNTED, of("full()"), counted("best_ngram")),
    ),
    compare(
        "At equal updates, the longest segments have a smaller loss than the shortest.",
        *(CHAPTER, of("segment", where=LONGEST), of("segment", where=SHORTEST)),
    ),
    compare(
        "At equal updates, segments of 8 steps are level with all credit.",
        *(CHAPTER, of("segment", where=TAU == 8), of("full()"), "level"),
    ),
    compare(
        "At equal data, an update at every cut is better than one every 64 steps.",
        *(CHAPTER, of("segment", "at cuts", where=TAU > 2), of("segment", where=TAU > 2)),
        each=("tau",),
    ),
    *(
        compare(
            f"Credit across one step is worth something: with an update {often}, segments of two steps have a smaller "
            "loss than segments of one.",
            *(CHAPTER, of("segment", updates, where=TAU == 2), of(OF_ONE, updates)),
        )
        for updates, often in (("every chunk", "every 64 steps"), ("at cuts", "at every cut"))
    ),
    compare(
        "ARTBP has a smaller loss than truncation of the same nominal length.",
        *(PAPER, of("artbp", "at cuts"), of("segment", "at cuts")),
        each=("tau",),
    ),
    compare(
        "ARTBP fits worse: it has a larger loss in training than truncation of the same nominal length.",
        *(PAPER, of("artbp", "at cuts"), of("segment", "at cuts"), "above"),
        quantity="loss",
        each=("tau",),
    ),
    compare(
        "Unbiased truncation (randomized) works no better than segments of its mean length: their losses are level.",
        *(CHAPTER, of("randomized"), of("segment"), "level"),
        each=("tau",),
    ),
    compare(
        "Gates that cut where it costs least have a smaller loss than gates that are open with one probability.",
        *("this package", of("optimal"), of("randomized", where=TAU == 8)),
        each=("tau",),
    ),
    compare(
        "A critic of what is cut has a smaller loss than segments without one.",
        *("Jaderberg et al. 2017, Decoupled neural interfaces using synthetic gradients",),
        *(of("dni", "at cuts"), of("segment", "at cuts", where=TAU == 8)),
        each=("tau",),
    ),
    compare(
        "Looking back across the cuts is better than stopping at them.",
        *(CHAPTER, of("rolling", "at cuts"), of("segment", "at cuts")),
        each=("tau",),
    ),
    compare(
        "Sequential partition, the state carried, is better than random windows.",
        *(CHAPTER, of("full()"), of("full()", order="random")),
    ),
)
