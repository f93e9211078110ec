"""Everything that needs no sampling: the public names of `tb.exact`."""

from tbptt_jax.analysis.break_even import BreakEven, break_even, by_sequence, level
from tbptt_jax.analysis.evolution import Evolution, evolution
from tbptt_jax.analysis.horizon import credit_norms, decay_rate, linear_credit_norms
from tbptt_jax.analysis.lengths import optimal_cuts
from tbptt_jax.analysis.moments import expected_gradient, gate_variances, variance
from tbptt_jax.analysis.of_loss import truncation_bias
from tbptt_jax.analysis.optimal import optimal_chances, optimal_keeps
from tbptt_jax.analysis.spectrum import BiasCurve, LagSpectrum, bias_curve, lag_spectrum
from tbptt_jax.analysis.stretch import averaged_stretch, longest_stretch

__all__ = [
    "BiasCurve",
    "BreakEven",
    "Evolution",
    "LagSpectrum",
    "averaged_stretch",
    "bias_curve",
    "break_even",
    "by_sequence",
    "credit_norms",
    "decay_rate",
    "evolution",
    "expected_gradient",
    "gate_variances",
    "lag_spectrum",
    "level",
    "linear_credit_norms",
    "longest_stretch",
    "optimal_chances",
    "optimal_cuts",
    "optimal_keeps",
    "truncation_bias",
    "variance",
]
