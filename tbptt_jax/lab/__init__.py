"""The experiment runner: run, stop, resume, and say whether the claim holds."""

from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.run import checkpoint

__all__ = ["Claim", "Experiment", "Verdict", "checkpoint"]
