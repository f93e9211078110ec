"""Real-time recurrent learning: the influence itself."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.gradients.influence.sparse import exact


@dataclass(frozen=True)
class RTRL(InfluenceEstimator):
    """Carry the whole influence forward: M_t = F_t + J_t M_{t−1}.

    Within a chunk it is full backpropagation; in a stream its gradient crosses from chunk to chunk, exactly as long as
    the parameters are held. It holds H × P numbers a sequence, or K × P where no parameter ever reaches more than
    K ≤ H/2 numbers of the state. That is so in the diagonal recurrences `lru`, `elstm` and `mingru`, and it is read off
    the structure of the model's step.
    """

    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Williams & Zipser 1989, A learning algorithm for continually running recurrent networks"

    def start(self, dynamics: Dynamics):
        form = exact(dynamics)
        if form is not None:
            return form.nothing()
        return jnp.zeros((dynamics.hidden, dynamics.weights), dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        form = exact(dynamics)
        if form is not None:
            return form.direct(step) + form.carried(step, influence)
        return step.direct() + step.jacobian() @ influence

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        form = exact(dynamics)
        return e @ influence if form is None else form.credit(influence, e)
