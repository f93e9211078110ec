"""The experiment runner: run, stop, resume, and say whether the claim holds."""

from tbptt_jax.lab.config import Config
from tbptt_jax.lab.experiment import Claim, Experiment, NotMeasured, Verdict, needed
from tbptt_jax.lab.run import checkpoint

__all__ = ["Claim", "Config", "Experiment", "NotMeasured", "Verdict", "checkpoint", "needed"]
