"""The chapter's picture: how much credit each step gets from each loss, by truncation."""

import re
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from tbptt_jax.analysis.reach import reach
from tbptt_jax.errors import UserError

MOST = 2.0
"""The factor of credit that is drawn darkest."""


def plot_reach(*truncations: Any, length: int = 24, key: Array | None = None) -> Any:
    """What truncations let through: which loss sees which earlier step, a panel each.

    Args:
        *truncations: Truncating estimators.
        length: How many steps are shown.
        key: For those that draw.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure  # slow to import, and needed by nobody else

    if not truncations:
        raise UserError("plot_reach: an estimator that cuts is needed, such as Segment(6)")
    figure = Figure(figsize=(2.6 * len(truncations) + 0.4, 2.9), layout="constrained")
    row = figure.subplots(1, len(truncations), squeeze=False)[0]
    for number, (axes, truncation) in enumerate(zip(row, truncations)):
        own = None if key is None else jax.random.fold_in(key, number)
        axes.imshow(np.asarray(reach(truncation, length, own)), cmap="Blues", vmin=0, vmax=MOST)
        axes.set_title(re.sub(r"(\.\d{3})\d+", r"\1", str(truncation)), loc="left", fontsize=9)  # 0.833 for 5/6
        axes.set_xlabel("step that is credited")
    row[0].set_ylabel("step of the loss")
    return figure
