"""The influence where it is sparse: SnAp keeps what reaches a unit within n steps, RFLO lets it leak."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.estimators.kf_rtrl import summed
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.gradients.influence.sparse import ByUnits, kept
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class SnAp(InfluenceEstimator):
    """RTRL with the influence kept only where a parameter reaches a unit within n steps.

    n = 1 keeps the units that a step's weights act on directly, and of J what leads from these to themselves; with the
    n at which all units are reached it is RTRL, for dense recurrent weights at n = 2. Which entries these are is read
    off the structure of the model's step. For n = 1 it holds P numbers a sequence for tanh, 2 P for LSTM, and works in
    proportion to them; other cells (GRU, stacks, flax) need the matrix J `[H, H]` of every step besides.
    """

    n: int = field(default=1, metadata={"static": True})
    name: ClassVar[str] = "snap"
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Menick et al. 2021, Practical real time recurrent learning with a sparse approximation"

    def __post_init__(self):
        self.require_whole("n", 1)

    def start(self, dynamics: Dynamics):
        return kept(dynamics, self.n).nothing()

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        form = kept(dynamics, self.n)
        return form.direct(step) + form.carried(step, influence)

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        return kept(dynamics, self.n).credit(influence, e)


@dataclass(frozen=True)
class RFLO(InfluenceEstimator):
    """Let the influence leak instead of carrying it by J: M_t = F_t + leak M_{t−1}.

    For a leaky network its leak is the part of a unit's old value that it keeps. Leak 0 drops the past altogether, as
    e-prop does for units that have no memory of their own. Credit comes from the exact e_t, where Murray has it through
    random feedback weights.
    """

    leak: Real = 0.5
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Murray 2019, Local online learning in recurrent networks with random feedback"

    def __post_init__(self):
        self.require("leak", "a number from 0 to 1", lambda leak: (leak >= 0) & (leak <= 1))

    def start(self, dynamics: Dynamics):
        return kept(dynamics, 1).nothing()

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        form = kept(dynamics, 1)
        return form.direct(step) + form.leaked(influence, self.leak * step.goes_on())

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        return kept(dynamics, 1).credit(influence, e)


@dataclass(frozen=True)
class EProp(InfluenceEstimator):
    """Carry the influence by what a unit keeps of itself, without its recurrent weights: M_t = F_t + D_t M_{t−1}.

    D_t is the derivative of a unit's new state by its old one with the weighted sums held: the forget gate of an LSTM,
    nothing for tanh units, where it is `rflo(leak=0)`. `snap()` lets each unit's own recurrent weight count too. For
    linear, tanh and LSTM cells, and any `SummedLayer` of one layer.
    """

    name: ClassVar[str] = "eprop"
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Bellec et al. 2020, A solution to the learning dilemma for recurrent spiking networks"

    def start(self, dynamics: Dynamics):
        return ByUnits(dynamics, summed(dynamics, self.name)).nothing()

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        form = ByUnits(dynamics, summed(dynamics, self.name))
        return form.direct(step) + form.remembered(step, influence)

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        return ByUnits(dynamics, summed(dynamics, self.name)).credit(influence, e)
