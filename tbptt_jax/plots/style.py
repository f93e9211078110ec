"""One look for all figures: an estimator keeps its colour and its mark everywhere, chosen for colour-blind readers.

Experiments are loaded where cells are measured too, so matplotlib, which is slow to import, waits for the first figure.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from tbptt_jax.errors import UserError
from tbptt_jax.files import write_atomically
from tbptt_jax.lab.claims import NotMeasured
from tbptt_jax.named import name_in

# Okabe & Ito's colours for truncation, and Tol's muted ones for the other families; each with a mark of its own, so
# that a print without colour can be read too
STYLES = {
    "full": ("#000000", "*"),
    "segment": ("#0072B2", "s"),
    "window": ("#56B4E9", "^"),
    "buffered": ("#009E73", "D"),
    "rolling": ("#004D40", "D"),
    "randomized": ("#D55E00", "o"),
    "artbp": ("#CC79A7", "P"),
    "by_age": ("#009988", "H"),
    "geometric": ("#E69F00", "v"),
    "adaptive": ("#332288", "<"),
    "adaptive_rolling": ("#332288", ">"),
    "telescope": ("#882255", ">"),
    "optimal": ("#AA4499", "X"),
    "scheduled": ("#AA4499", "*"),
    "bp_lambda": ("#E69F00", "^"),
    "dni": ("#7F7F7F", "X"),
    "output_only": ("#AAAAAA", "v"),
    "rtrl": ("#555555", "h"),
    "snap": ("#117733", "d"),
    "sketched": ("#9467BD", "D"),
    "uoro": ("#DDCC77", "p"),
    "nobacktrack": ("#DDCC77", "h"),
    "kf_rtrl": ("#999933", "8"),
    "r_kf_rtrl": ("#999933", "s"),
    "ok": ("#BCBD22", ">"),
    "rflo": ("#88CCEE", "1"),
    "eprop": ("#3690C0", "1"),
    "kernl": ("#17BECF", "<"),
    "es": ("#8C564B", "2"),
    "truncated_es": ("#C49C94", "3"),
    "pes": ("#CC6677", "4"),
    "nres": ("#661100", "x"),
    "gpes": ("#CC6677", "x"),
    "forward_gradient": ("#44AA99", "+"),
    "dodge": ("#44AA99", "P"),
}
OTHERS = ("#8C564B", "#1B9E77", "#A6761D", "#E7298A", "#6A3D9A"), ("h", "<", ">", "d", "P")
"""Colours and marks for the methods of users' own."""

DASHES = ("-", "--", ":", "-.")

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


def style_of(series: str) -> dict[str, Any]:
    """Colour and mark of a series, by its method; one that has none here gets those that its name tells, whatever else
    is drawn."""
    method = name_in(series)
    colour, mark = STYLES.get(method) or by_name(method)
    return {"color": colour, "marker": mark}


def by_name(method: str) -> tuple[str, str]:
    colours, marks = OTHERS
    more, number = divmod(crc32(method.encode()), len(colours))
    return colours[number], marks[more % len(marks)]


def styles_of(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The looks of lines that have no other names beside them: variants of one method are dashed in turn."""
    looks, seen = {}, Counter[str]()
    for line in lines:
        looks[line] = style_of(line) | {"linestyle": DASHES[seen[name_in(line)] % len(DASHES)]}
        seen[name_in(line)] += 1
    return looks


def pyplot() -> Any:
    """matplotlib.pyplot, which opens no window."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def shade(part: float) -> Any:
    """The colour of a value that lies so far along its scale, from 0, dark, to 1, light."""
    return pyplot().get_cmap("viridis")(part)


def panels(rows: int, columns: int, width: float = 3.0, height: float = 2.5, **options: Any):
    """A figure of rows × columns axes, `[rows, columns]`."""
    size = (width * columns + 0.4, height * rows + 0.3)
    return pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)


FORMATS: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None}},
    "png": {"dpi": 105},
    "pdf": {"metadata": {"CreationDate": None}},
}


@dataclass(frozen=True)
class Look:
    """In which formats figures are written; how wide they are, in inches, and how large their letters, in points: as
    they were drawn where nothing else is said."""

    formats: tuple[str, ...] = ("svg", "png")
    width: float | None = None
    font_size: float | None = None

    @classmethod
    def of(cls, formats: str, width: float | None, font_size: float | None) -> "Look":
        """As the command line says it."""
        names = tuple(name.strip() for name in formats.split(","))
        for name in names:
            if name not in FORMATS:
                raise UserError(f"--format: each of {', '.join(FORMATS)}, got {name!r}")
        if font_size is not None and not 1 <= font_size <= 100:
            raise UserError(f"--font-size: a number of points from 1 to 100 is needed, got {font_size:g}")
        return cls(names, width, font_size)

    def give(self, figure: Any) -> None:
        """All letters keep their proportions, and so does the figure."""
        if self.font_size is not None:
            from matplotlib.text import Text

            for text in figure.findobj(Text):
                text.set_fontsize(text.get_fontsize() * self.font_size / RC["font.size"])
        if self.width is not None:
            width, height = figure.get_size_inches()
            figure.set_size_inches(self.width, self.width * height / width)


def save(
    draw: Callable[[], Mapping[str, Any]], folder: Path, look: Look = Look()
) -> tuple[list[Path], dict[str, NotMeasured]]:
    """Every figure in this look; of those that cannot be drawn, what they lack. The paths are of the last format.

    `draw()` gives figures, or functions that draw one, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, lacking, plt = [], {}, pyplot()
    with plt.rc_context(RC):
        for name, figure in draw().items():
            if Path(name).name != name or name.startswith("."):
                raise ValueError(f"figure {name!r}: a name that is a file's in this very folder is needed")
            try:
                figure = figure() if callable(figure) else figure
            except NotMeasured as lack:
                lacking[name] = lack
                continue
            look.give(figure)
            for ending in look.formats:
                buffer = io.BytesIO()
                figure.savefig(buffer, format=ending, **FORMATS[ending])
                write_atomically(folder / f"{name}.{ending}", buffer.getvalue())
            paths.append(folder / f"{name}.{look.formats[-1]}")
            plt.close(figure)
    return paths, lacking
