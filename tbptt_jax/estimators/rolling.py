"""Truncation that rolls along a stream: an update every k2 steps, whose losses look back k1 steps across chunks."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Array

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Pace
from tbptt_jax.estimators.buffered import Buffered
from tbptt_jax.estimators.history import History, looking_back, no_history
from tbptt_jax.gradients.cuts.kinds import Blocks
from tbptt_jax.models import Batch, Model, Params


@dataclass(frozen=True)
class Rolling(Buffered):
    """Every k2 steps, their losses are backpropagated through the last k1 ≥ k2 steps, those of earlier chunks included.

    The k1 − k2 inputs before a chunk are kept, and the state before them; they run again under the parameters of now.
    So a loss sees between k1 − k2 and k1 − 1 steps before its own, wherever a chunk begins. Experiments train it in
    chunks of k2 steps; elsewhere the task's `length` says how long a chunk is. Within one sequence it is `buffered`;
    k1 = 2K − 1, k2 = K is a truncation of K in Aicher et al. `states` is for `tb.scan` and `tb.truncate`.
    """

    carries_more: ClassVar[bool] = True  # type: ignore[misc]
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Williams & Peng 1990, An efficient gradient-based algorithm: BPTT(h; h')"

    @classmethod
    def of_length(cls, tau: int):
        return cls(2 * tau - 1, tau)

    @property
    def nominal_length(self):
        return (self.k1 + 1) / 2 if self.k1 == 2 * self.k2 - 1 else self.k1

    @property
    def longest_look_back(self):
        return self.k1

    @property
    def before(self) -> int:
        """How many steps before a chunk are run again."""
        return self.k1 - self.k2

    def pace(self, chunk: int):
        return Pace(self.k2, float(self.k2))

    def states_alive(self, length: int):
        return self.before + length

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        return no_history(self.before, model, params, batch)

    def __call__(self, model: Model, params: Params, carry: History, batch: Batch, key: Array | None):
        if self.states is not None:
            raise UserError(
                f"rolling: states={self.states!r} is for tb.scan and tb.truncate; along a stream it keeps the states "
                "of k1 - k2 steps and a chunk: leave states away, or take buffered or window"
            )
        offset = self.before % self.k2  # so that blocks end where the chunk's do
        return looking_back(Blocks(self.k1, self.k2, offset, whole=offset == 0), model, params, carry, batch)
