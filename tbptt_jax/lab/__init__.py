"""What is measured: experiments, grids, cells, tables and claims."""

from tbptt_jax.lab.claims import Check, Claim, NotMeasured, Side, Verdict, needed
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.measuring import checkpoint

__all__ = [
    "Check",
    "Choices",
    "Claim",
    "Config",
    "Experiment",
    "NotMeasured",
    "Side",
    "Verdict",
    "checkpoint",
    "needed",
]
