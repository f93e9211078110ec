"""Estimators by name: the built-in ones, those that other packages announce, and those in a user's own file."""

from functools import cache

from tbptt_jax.estimators.adaptive import Adaptive
from tbptt_jax.estimators.artbp import ARTBP
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.buffered import Buffered
from tbptt_jax.estimators.es import ES, TruncatedES
from tbptt_jax.estimators.forward_gradient import ForwardGradient
from tbptt_jax.estimators.full import Full
from tbptt_jax.estimators.kf_rtrl import KFRTRL
from tbptt_jax.estimators.optimal import Optimal
from tbptt_jax.estimators.pes import NRES, PES
from tbptt_jax.estimators.randomized import Geometric, Randomized
from tbptt_jax.estimators.rtrl import RTRL
from tbptt_jax.estimators.segment import Segment
from tbptt_jax.estimators.snap import RFLO, SnAp
from tbptt_jax.estimators.telescope import Telescope
from tbptt_jax.estimators.uoro import UORO
from tbptt_jax.estimators.window import Window
from tbptt_jax.named import known, make

BUILT_IN = (
    *(Full, Segment, Window, Buffered, Randomized, Geometric, ARTBP, Adaptive, Telescope, Optimal),
    *(RTRL, SnAp, UORO, KFRTRL, RFLO),
    *(ES, TruncatedES, PES, NRES, ForwardGradient),
)


@cache
def estimators() -> dict[str, type[Estimator]]:
    """Every registered class by its name; packages announce theirs under the entry points `tbptt_jax.estimators`."""
    return known(BUILT_IN, Estimator, "tbptt_jax.estimators")


def make_estimator(text: str) -> Estimator:
    """The estimator that a text such as "segment(tau=8)" or "my_file.py:Mine(keep=0.9)" describes."""
    return make("estimator", text, estimators(), Estimator)
