"""What truncating a model would cost, in one picture."""

from typing import Any

import numpy as np

from tbptt_jax.analysis.of_loss import Loss, steps_of, truncation_bias
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.plots.style import style_of

ENOUGH = 0.1  # of the gradient, which the title says how many steps it takes to reach


def plot_bias(model: Model | Loss, params: Params, batch: Batch | Any, taus: Any = None) -> Any:
    """The relative bias ‖E g − ∇L‖ / ‖∇L‖ of windows and segments against their length.

    Args:
        model: A Model, or a function `loss(params, batch)`, whose loops are cut.
        params: The parameters.
        batch: A Batch for a Model; else whatever the function reads.
        taus: The lengths; None: all.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure  # slow to import, and needed by nobody else

    lengths = np.arange(1, steps_of(model, params, batch) + 1) if taus is None else np.asarray(taus)
    curves = truncation_bias(model, params, batch, taus)
    figure = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for name in ("window", "segment"):
        bias = np.asarray(curves[name].relative_bias)
        shown = bias > 1e-7
        axes.plot(lengths[shown], bias[shown], markersize=3, label=name, **style_of(name))
    axes.axhline(ENOUGH, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="truncation length τ (steps)", ylabel="relative bias of the gradient")
    ticks = [2**i for i in range(int(lengths.max()).bit_length()) if lengths.min() <= 2**i <= lengths.max()]
    axes.set_xticks(ticks, labels=map(str, ticks))
    axes.minorticks_off()
    axes.set_title(said(lengths, curves["segment"].relative_bias), loc="left", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def said(lengths: np.ndarray, bias: Any) -> str:
    """The picture's message: from which length on segments stay within a tenth of the gradient."""
    beyond = np.flatnonzero(~(np.asarray(bias) <= ENOUGH))
    first = 0 if not len(beyond) else beyond[-1] + 1
    if first == len(lengths):
        return f"Segments of {lengths[-1]} steps miss more than {ENOUGH:.0%} of the gradient"
    return f"Segments of {lengths[first]} steps stay within {ENOUGH:.0%} of the gradient"
