"""Per-loss truncation: each loss looks back over the same number of steps."""

from dataclasses import dataclass
from typing import ClassVar

from tbptt_jax.estimators.base import WindowedEstimator
from tbptt_jax.pytree import Whole


@dataclass(frozen=True)
class Window(WindowedEstimator):
    """Each loss sees exactly the lags 0..tau−1.

    tau = 1 is the current step alone. The estimate is Σ_{k<tau} G_k.
    """

    tau: Whole
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Williams & Peng 1990, BPTT(h)"

    def __post_init__(self):
        self.require_whole("tau", 1)

    @classmethod
    def of_length(cls, tau: int):
        return cls(tau)

    @property
    def nominal_length(self):
        return self.tau

    @property
    def constants(self) -> tuple[str, ...]:  # type: ignore[override]
        """What is made again is laid out for a length that is a constant of the compiled program."""
        return () if self.states is None else ("tau",)

    def lags(self, length: int):
        return self.tau


@dataclass(frozen=True)
class OutputOnly(WindowedEstimator):
    """The derivative of the current step alone, as if the state before it were data: `window(tau=1)`.

    All that lags give is left out; readouts learn in full, and recurrent weights from what they see at once.
    """

    name: ClassVar[str] = "output_only"
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"

    @property
    def nominal_length(self):
        return 1

    def lags(self, length: int):
        return 1
