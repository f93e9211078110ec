"""The experiment runner: run, stop, resume, and say whether the claim holds."""

from tbptt_jax.lab.experiment import Claim, Experiment, Verdict

__all__ = ["Claim", "Experiment", "Verdict"]
