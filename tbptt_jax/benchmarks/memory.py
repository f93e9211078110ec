"""What estimators keep, against the length of a sequence: temporaries of the compiled program, and the exponents.

Nothing is run: the compiler says how much memory a program needs besides its arguments and results.
"""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from tbptt_jax.benchmarks.timing import folder_of
from tbptt_jax.estimators import make_estimator
from tbptt_jax.estimators.base import gradient
from tbptt_jax.files import write_atomically
from tbptt_jax.models import Batch
from tbptt_jax.networks import rnn
from tbptt_jax.plots.style import panels, save, style_of

LENGTHS = [128, 512, 2048]
HIDDEN, BATCH_SIZE, SYMBOLS = 32, 8, 28
FAMILIES = {
    "exact gradients": ["full()", "full(states='sqrt')", "full(states=16)"],
    "truncation, τ = 16": [
        *("segment(tau=16)", "segment(tau=16, states=16)", "segment(tau=16, offset='random', in_order=True)"),
        *("window(tau=16)", "window(tau=16, states=32)", "buffered(k1=32, k2=16)", "buffered(k1=32, k2=16, states=32)"),
    ],
    "unbiased truncation": [
        *("randomized(keep=0.9375)", "randomized(keep=0.9375, states=16)"),
        *("artbp(length=16)", "artbp(length=16, states=16)", "telescope()"),
    ],
    "forward in time": ["rtrl()", "snap()", "uoro()", "kf_rtrl()", "rflo()"],
}


def main(_: int = 0, results: Path | None = None, lengths: Sequence[int] = LENGTHS) -> None:
    device = jax.devices()[0].device_kind
    print(f"{device}: temporaries (kB) of one gradient, B = {BATCH_SIZE}, tanh, {HIDDEN} hidden, {SYMBOLS} symbols")
    print(f"\n{'T':48}" + "".join(f"{length:>10}" for length in lengths) + f"{'exponent':>10}{'states':>8}")
    rows = []
    for family, texts in FAMILIES.items():
        for text in texts:
            found = [measured(text, length) for length in lengths]
            sizes = [one["temporary_bytes"] for one in found]
            power = exponent(lengths, sizes)
            rows += [{"family": family, "exponent": power} | one for one in found]
            line = "".join(f"{size / 1e3:10.1f}" for size in sizes)
            print(f"{text:48}{line}{power:10.2f}{found[-1]['states']:8}", flush=True)
    if results is not None:
        folder = folder_of(results, "memory", device)
        buffer = io.BytesIO()
        pl.DataFrame(rows).write_parquet(buffer)
        write_atomically(folder / "table.parquet", buffer.getvalue())
        save(lambda: {"temporaries": figure(pl.DataFrame(rows))}, folder)
        print(f"\n{folder}: table.parquet, temporaries.svg, temporaries.png")


def measured(text: str, length: int) -> dict[str, Any]:
    """What one estimator needs for a sequence of so many steps."""
    model = rnn("tanh", SYMBOLS, HIDDEN, SYMBOLS)
    shape = (length, BATCH_SIZE)
    batch = Batch(jnp.zeros((*shape, SYMBOLS)), jnp.zeros(shape, int))
    est, params, key = make_estimator(text), model.init(jax.random.key(0)), jax.random.key(1)
    program = jax.jit(partial(gradient, est, model)).lower(params, batch, key).compile()
    size = program.memory_analysis().temp_size_in_bytes  # type: ignore[union-attr]
    return {"estimator": text, "length": length, "temporary_bytes": size, "states": est.states_alive(length)}


def exponent(lengths: Sequence[int], sizes: Sequence[int]) -> float:
    """Of the memory's growth with the length: the slope of a line through all points, log-log."""
    return float(np.polyfit(np.log(lengths), np.log(sizes), 1)[0])


def figure(table: pl.DataFrame) -> Any:
    """Log-log, a panel a family, each line named at its end with its exponent."""
    families = table["family"].unique(maintain_order=True).to_list()
    lengths = sorted(table["length"].unique())
    low, high = (float(getattr(table["temporary_bytes"], end)()) / 1e3 for end in ("min", "max"))
    drawn, grid = panels(2, 2, width=4.3, height=2.5, sharex=True, sharey=True)
    for axes, family in zip(grid.flat, families):
        part = table.filter(pl.col("family") == family)
        ends = []
        for i, ((text,), line) in enumerate(part.group_by("estimator", maintain_order=True)):
            look = style_of(str(text)) | {"linestyle": ["-", "--", ":"][i % 3]}
            sizes = line["temporary_bytes"].to_numpy() / 1e3
            axes.plot(line["length"], sizes, **look)
            power = line["exponent"][0]
            growth = "T^0" if abs(power) < 0.1 else f"T^{power:.1f}"
            ends.append((np.log(sizes[-1]), f"{text}  {growth}", look["color"]))
        step, place = 0.075 * np.log(4 * high / low), -np.inf
        for value, words, colour in sorted(ends):  # names that would lie on each other are moved up
            place = max(value, place + step)
            axes.annotate(words, (lengths[-1] * 1.15, np.exp(place)), color=colour, fontsize=7, va="center")
        axes.set(xscale="log", yscale="log", xlim=(lengths[0] / 1.3, lengths[-1] * 22), ylim=(low / 1.6, high * 2.5))
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.minorticks_off()
        axes.set_title(family, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("length T")
    for axes in grid[:, 0]:
        axes.set_ylabel("temporaries (kB)")
    title = "A backward pass takes memory of the whole sequence, unless `states=` or segments in order bound it"
    drawn.suptitle(title, fontsize=9.5, x=0.02, ha="left")
    return drawn
