"""The gradient estimators, one file a method, and their index: a method is known everywhere by its line here."""

from tbptt_jax.estimators.adaptive import Adaptive as Adaptive
from tbptt_jax.estimators.adaptive_rolling import AdaptiveRolling as AdaptiveRolling
from tbptt_jax.estimators.artbp import ARTBP as ARTBP
from tbptt_jax.estimators.base import Estimator as Estimator
from tbptt_jax.estimators.base import Truncation as Truncation
from tbptt_jax.estimators.base import WindowedEstimator as WindowedEstimator
from tbptt_jax.estimators.base import gradient as gradient
from tbptt_jax.estimators.buffered import Buffered as Buffered
from tbptt_jax.estimators.by_age import ByAge as ByAge
from tbptt_jax.estimators.by_name import all_estimators as all_estimators
from tbptt_jax.estimators.by_name import make_estimator as make_estimator
from tbptt_jax.estimators.es import ES as ES
from tbptt_jax.estimators.es import TruncatedES as TruncatedES
from tbptt_jax.estimators.forward_gradient import ForwardGradient as ForwardGradient
from tbptt_jax.estimators.full import Full as Full
from tbptt_jax.estimators.gated import GatedEstimator as GatedEstimator
from tbptt_jax.estimators.influence import InfluenceEstimator as InfluenceEstimator
from tbptt_jax.estimators.kernl import KeRNL as KeRNL
from tbptt_jax.estimators.kf_rtrl import KFRTRL as KFRTRL
from tbptt_jax.estimators.ok import OK as OK
from tbptt_jax.estimators.optimal import Optimal as Optimal
from tbptt_jax.estimators.pes import GPES as GPES
from tbptt_jax.estimators.pes import NRES as NRES
from tbptt_jax.estimators.pes import PES as PES
from tbptt_jax.estimators.predicted import Estimate as Estimate
from tbptt_jax.estimators.randomized import Geometric as Geometric
from tbptt_jax.estimators.randomized import Randomized as Randomized
from tbptt_jax.estimators.renewal import RenewalEstimator as RenewalEstimator
from tbptt_jax.estimators.reverse_kf import RKFRTRL as RKFRTRL
from tbptt_jax.estimators.rolling import Rolling as Rolling
from tbptt_jax.estimators.rtrl import RTRL as RTRL
from tbptt_jax.estimators.scheduled import Scheduled as Scheduled
from tbptt_jax.estimators.segment import Segment as Segment
from tbptt_jax.estimators.sketched import Sketched as Sketched
from tbptt_jax.estimators.snap import RFLO as RFLO
from tbptt_jax.estimators.snap import EProp as EProp
from tbptt_jax.estimators.snap import SnAp as SnAp
from tbptt_jax.estimators.synthetic import DNI as DNI
from tbptt_jax.estimators.synthetic import BPLambda as BPLambda
from tbptt_jax.estimators.telescope import Telescope as Telescope
from tbptt_jax.estimators.uoro import UORO as UORO
from tbptt_jax.estimators.uoro import NoBackTrack as NoBackTrack
from tbptt_jax.estimators.window import OutputOnly as OutputOnly
from tbptt_jax.estimators.window import Window as Window

__all__ = [name for name, value in vars().items() if callable(value)]  # not the modules
