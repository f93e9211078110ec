"""Real-time recurrent learning: the influence itself."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.gradients.influence.dynamics import Dynamics


@dataclass(frozen=True)
class RTRL(InfluenceEstimator):
    """Carry the whole influence forward: M_t = F_t + J_t M_{t−1}.

    Within a chunk it is full backpropagation; in a stream its gradient crosses from chunk to chunk, exactly as long as
    the parameters are held. It holds H × P numbers a sequence.
    """

    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Williams & Zipser 1989, A learning algorithm for continually running recurrent networks"

    def start(self, dynamics: Dynamics):
        return jnp.zeros((dynamics.hidden, dynamics.weights), dynamics.params.dtype)

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        return step.direct() + step.jacobian() @ influence

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        return e @ influence
