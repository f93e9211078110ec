"""One look for all figures: an estimator keeps its colour and its mark everywhere, chosen for colour-blind readers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe & Ito's colours for truncation, and Tol's muted ones for the other families; each with a mark of its own, so
# that a print without colour can be read too
STYLES = {
    "full": ("#000000", "*"),
    "segment": ("#0072B2", "s"),
    "window": ("#56B4E9", "^"),
    "buffered": ("#009E73", "D"),
    "randomized": ("#D55E00", "o"),
    "artbp": ("#CC79A7", "P"),
    "geometric": ("#E69F00", "v"),
    "adaptive": ("#332288", "<"),
    "telescope": ("#882255", ">"),
    "optimal": ("#AA4499", "X"),
    "rtrl": ("#555555", "h"),
    "snap": ("#117733", "d"),
    "uoro": ("#DDCC77", "p"),
    "kf_rtrl": ("#999933", "8"),
    "rflo": ("#88CCEE", "1"),
    "es": ("#8C564B", "2"),
    "truncated_es": ("#C49C94", "3"),
    "pes": ("#CC6677", "4"),
    "nres": ("#661100", "x"),
    "forward_gradient": ("#44AA99", "+"),
}
OTHERS = (("#7F7F7F", "X"), ("#8C564B", "h"), ("#17BECF", "<"), ("#BCBD22", ">"), ("#9467BD", "d"))

RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "svg.hashsalt": "tbptt_jax",
    "svg.fonttype": "none",  # letters as letters: a third of the size
}


def style_of(estimator: str) -> dict[str, Any]:
    """Colour and mark of an estimator, by its name or its text."""
    name = estimator.partition("(")[0]
    colour, mark = STYLES.get(name) or OTHERS[sum(map(ord, name)) % len(OTHERS)]
    return {"color": colour, "marker": mark}


def panels(rows: int, columns: int, width: float = 3.0, height: float = 2.5, **options: Any):
    """A figure of rows × columns axes, `[rows, columns]`."""
    size = (width * columns + 0.4, height * rows + 0.3)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)


def save(draw: Callable[[], Mapping[str, Any]], folder: Path) -> list[Path]:
    """Every figure that is drawn, in this look, as SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plt.rc_context(RC):
        for name, figure in draw().items():
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=105)
            paths.append(folder / f"{name}.png")
            plt.close(figure)
    return paths
