"""How time and memory of one gradient grow with the length, τ, the batch, the units and the number of samples: the
exponents that fit, beside those of theory.

Each size is doubled twice from a base where arithmetic outweighs the cost of a step, and the exponent is the slope of
the logarithms. Time is the median of rounds that alternate over the three sizes; memory is the temporaries that the
compiler asks for.
"""

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from tbptt_jax.benchmarks.timing import alternate, folder_of
from tbptt_jax.estimators import make_estimator
from tbptt_jax.estimators.base import gradient
from tbptt_jax.files import write_atomically
from tbptt_jax.models import Batch
from tbptt_jax.networks import rnn
from tbptt_jax.plots.style import panels, save, style_of

SYMBOLS = 28
SIZES = {"T": 64, "tau": 8, "B": 16, "H": 128, "samples": 1}
FROM = SIZES | {"samples": 4}
"""Where each size begins while the others stand still."""
DEAR = {"rtrl()": {"H": 24}, "kf_rtrl()": {"H": 64}}
"""What is measured with fewer units."""
DOUBLINGS = (1, 2, 4)
NAMES = {"T": "length T", "tau": "τ", "B": "batch B", "H": "units H", "samples": "samples"}


STEPS = {"T": 1, "B": 1}
DRAWN = STEPS | {"samples": 1}
ESTIMATORS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "full()": (STEPS | {"H": 2}, STEPS | {"H": 1}),
    "full(states=8)": (STEPS | {"H": 2}, {"B": 1, "H": 1}),
    "segment(tau={tau})": (STEPS | {"H": 2}, STEPS | {"H": 1}),
    "window(tau={tau})": (STEPS | {"tau": 1, "H": 2}, STEPS | {"H": 1}),
    "randomized(keep=0.875)": (DRAWN | {"H": 2}, DRAWN | {"H": 1}),
    "telescope()": (DRAWN | {"H": 2}, DRAWN | {"H": 1}),
    "rtrl()": (STEPS | {"H": 4}, {"B": 1, "H": 3}),
    "snap()": (STEPS | {"H": 2}, {"B": 1, "H": 2}),
    "uoro()": (DRAWN | {"H": 2}, {"B": 1, "H": 2, "samples": 1}),
    "kf_rtrl()": (DRAWN | {"H": 3}, {"B": 1, "H": 2, "samples": 1}),
}
"""The exponents of theory, of time and of memory, in tanh networks, which have H² parameters. An estimate without noise
is the same however often it is made. With a fixed number of states, steps are made again the more often the longer a
sequence is, so that time grows by more than T."""


def main(rounds: int = 9, results: Path | None = None, estimators: Mapping[str, Any] = ESTIMATORS) -> None:
    device = jax.devices()[0].device_kind
    base = ", ".join(f"{name} = {size}" for name, size in SIZES.items() if name != "samples")
    print(f"{device}: one gradient of tanh networks, {base}, {SYMBOLS} symbols; medians of {rounds}, each size doubled")
    print("exponents of time and of memory, and those of theory in brackets\n")
    print(f"{'':24}" + "".join(f"{name:>24}" for name in SIZES))
    rows: list[dict[str, Any]] = []
    for text, expected in estimators.items():
        line = ""
        for name in SIZES:
            if (name == "tau" and "{tau}" not in text) or (name == "samples" and name not in expected[0]):
                line += f"{'':24}"
                continue
            seconds, sizes = grown(text, name, rounds)
            words = ""
            for what, powers, values in zip(("time", "memory"), expected, (seconds, sizes)):
                found, told = exponent(values), powers.get(name, 0)
                size = {"estimator": text.format(**SIZES), "size": name, "of": what}
                rows.append(size | {"exponent": found, "theory": told})
                words += f"{found:8.2f} ({told})"
            line += f"{words:>24}"
        print(f"{text.format(**SIZES):24}{line}", flush=True)
    if results is not None:
        keep(pl.DataFrame(rows), device, results)


def keep(table: pl.DataFrame, device: str, results: Path) -> None:
    folder = folder_of(results, "growth", device)
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_atomically(folder / "table.parquet", buffer.getvalue())
    save(lambda: {"exponents": figure(table)}, folder)
    print(f"\n{folder}: table.parquet, exponents.svg, exponents.png")


def grown(text: str, name: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds and bytes of one estimator at the three values of one size."""
    programs: dict[Any, Callable] = {}
    sizes = []
    base = FROM | DEAR.get(text, {})
    for factor in DOUBLINGS:
        program, arguments = compiled(text, SIZES | DEAR.get(text, {}) | {name: factor * base[name]})
        programs[factor] = partial(program, *arguments)
        sizes.append(float(program.memory_analysis().temp_size_in_bytes))
    return list(alternate(programs, rounds).values()), sizes


def compiled(text: str, sizes: Mapping[str, int]) -> tuple[Any, tuple]:
    """The program of so many estimates at these sizes, and what it takes."""
    model = rnn("tanh", SYMBOLS, sizes["H"], SYMBOLS)
    shape = sizes["T"], sizes["B"]
    batch = Batch(jnp.zeros((*shape, SYMBOLS)).at[..., 0].set(1.0), jnp.zeros(shape, int))
    est, params = make_estimator(text.format(**sizes)), model.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), sizes["samples"])

    def estimates(params: Any, batch: Batch, keys: Any) -> Any:
        return jax.vmap(partial(gradient, est, model, params), (None, 0))(batch, keys)

    arguments = params, batch, keys
    return jax.jit(estimates).lower(*arguments).compile(), arguments


def exponent(values: list[float]) -> float:
    """The slope of the logarithms by least squares."""
    return float(np.polyfit(np.log(DOUBLINGS), np.log(values), 1)[0])


def figure(table: pl.DataFrame) -> Any:
    """A panel a size: filled marks are time, open ones memory, lines what theory says of each."""
    estimators = table["estimator"].unique(maintain_order=True).to_list()[::-1]
    drawn, grid = panels(1, len(SIZES), width=1.9, height=3.2, sharey=True)
    for axes, name in zip(grid[0], SIZES):
        for row in table.filter(pl.col("size") == name).iter_rows(named=True):
            place = estimators.index(row["estimator"]) + (0.17 if row["of"] == "time" else -0.17)
            look = style_of(row["estimator"]) | {"linestyle": "none"}
            filled = look["color"] if row["of"] == "time" else "none"
            axes.plot(row["exponent"], place, **look, markerfacecolor=filled, markersize=5)
            axes.plot([row["theory"]] * 2, [place - 0.15, place + 0.15], color="black", linewidth=1.3)
        axes.margins(x=0.25)
        axes.set_xlabel(f"exponent of {NAMES[name]}", fontsize=8)
        axes.set_yticks(range(len(estimators)), labels=estimators, fontsize=7)
        axes.grid(axis="y", color="0.92")
    title = "How time (filled) and memory (open) of a gradient grow, and what theory says (black lines)"
    drawn.suptitle(title, fontsize=9.5, x=0.02, ha="left")
    return drawn
