"""What is measured: experiments, grids, cells, tables and claims."""

from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Claim, Experiment, NotMeasured, Verdict, needed
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.measuring import checkpoint

__all__ = ["Choices", "Claim", "Config", "Experiment", "NotMeasured", "Verdict", "checkpoint", "needed"]
