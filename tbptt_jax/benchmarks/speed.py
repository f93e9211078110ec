"""One truncated gradient at real sizes: ours, JAX as one writes it, JAX as an experienced user writes it, PyTorch.

All sides have the same weights and data, and must agree on the gradient before anything is timed. The GRU is PyTorch's
(and flax's): the reset gate acts on the recurrent product. PyTorch is a peer where it is installed.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import lax
from jaxtyping import PyTree

from tbptt_jax.benchmarks.timing import alternate, folder_of, matrix_rate
from tbptt_jax.cells import Layer
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import gradient
from tbptt_jax.estimators.segment import Segment
from tbptt_jax.files import write_atomically
from tbptt_jax.models import Batch, Params
from tbptt_jax.networks import RNN, rnn
from tbptt_jax.plots.style import panels, save

LENGTH, TAU, SYMBOLS = 256, 16, 28
SIZES = (
    *(("tanh", 1, 32), ("tanh", 32, 128), ("tanh", 32, 512)),
    *(("lstm", 32, 128), ("lstm", 32, 512), ("gru", 32, 256)),
)
TOLERANCE = 1e-5
PEERS = {"torch": "PyTorch, detach", "naive": "JAX, stop_gradient", "careful": "JAX, careful", "ours": "tb.gradient"}


@dataclass(frozen=True)
class ResetAfter(Layer):
    """PyTorch's GRU, without its second bias: h_t = z ⊙ h_{t-1} + (1 − z) ⊙ tanh(a_n + r ⊙ (W_hn h_{t-1}))."""

    name: ClassVar[str] = "gru"
    blocks: ClassVar[int] = 3

    def step(self, params: Any, state: PyTree, x: PyTree):
        read, recurrent = x @ params["W_hx"].T + params["b_h"], state @ params["W_hh"].T
        two = 2 * self.hidden
        reset, update = jnp.split(jax.nn.sigmoid(read[..., :two] + recurrent[..., :two]), 2, axis=-1)
        candidate = jnp.tanh(read[..., two:] + reset * recurrent[..., two:])
        return update * state + (1 - update) * candidate


class Problem(NamedTuple):
    """A network, its weights and one batch."""

    model: RNN
    params: Params
    batch: Batch


def main(rounds: int = 9, results: Path | None = None) -> None:
    rate = matrix_rate()
    device = jax.devices()[0].device_kind
    print(f"{device}: matrix products at {rate / 1e9:.0f} GFLOP/s; medians of {rounds}, alternating")
    print(f"One gradient, T = {LENGTH}, segments of {TAU}, {SYMBOLS} symbols, float32; ms, in brackets ours against it")
    print(f"\n{'':18}" + "".join(f"{name:>28}" for name in PEERS.values()))
    rows = []
    for cell, batch_size, hidden in SIZES:
        medians = alternate(agreeing(problem(cell, batch_size, hidden)), rounds)
        rows += [
            {"cell": cell, "batch_size": batch_size, "hidden": hidden, "peer": peer, "seconds": seconds}
            for peer, seconds in medians.items()
        ]
        cells = [
            f"{1e3 * medians[peer]:12.2f} ({medians[peer] / medians['ours']:5.2f} x)" if peer in medians else "-"
            for peer in PEERS
        ]
        print(f"{cell:5}B {batch_size:2}, h {hidden:3}" + "".join(f"{text:>28}" for text in cells), flush=True)
    if results is not None:
        keep(pl.DataFrame(rows).with_columns(matrix_rate=pl.lit(rate), rounds=pl.lit(rounds)), device, results)


def problem(cell: str, batch_size: int, hidden: int) -> Problem:
    model = rnn(ResetAfter if cell == "gru" else cell, SYMBOLS, hidden, SYMBOLS)
    symbols = jax.random.randint(jax.random.key(0), (LENGTH + 1, batch_size), 0, SYMBOLS)
    batch = Batch(jax.nn.one_hot(symbols[:-1], SYMBOLS), symbols[1:])
    return Problem(model, model.init(jax.random.key(1)), batch)


def agreeing(at: Problem) -> dict[str, Callable]:
    """The programs of all sides, which were seen to give the same gradient."""
    sides: dict[str, Callable] = {
        "ours": partial(gradient, Segment(TAU), at.model, at.params, at.batch),
        "careful": partial(jax.jit(partial(careful, at.model)), at.params, at.batch),
        "naive": partial(jax.jit(partial(naive, at.model)), at.params, at.batch),
    }
    given = {name: jax.tree.map(np.asarray, side()) for name, side in sides.items()}
    try:
        sides["torch"], given["torch"] = by_torch(at)
    except ImportError:
        print("(PyTorch is not installed: pip install 'tbptt_jax[bench]')")
    for name, grads in given.items():
        for ours, theirs in zip(jax.tree.leaves(given["ours"]), jax.tree.leaves(grads), strict=True):
            apart = float(np.max(np.abs(ours - theirs)) / np.max(np.abs(ours)))
            if not apart < TOLERANCE:
                raise UserError(f"bench: the gradient of {name} is another, apart by {apart:.1e} of its largest entry")
    return sides


def naive(model: RNN, params: Params, batch: Batch) -> PyTree:
    """The definition in `lax.scan`: the state is stopped before each segment, the loss is read in the loop."""

    def whole(params):
        def step(state, row):
            x, y, number = row
            state = jax.tree.map(lambda h: jnp.where(number % TAU == 0, lax.stop_gradient(h), h), state)
            state = model.step(params, state, x)
            return state, model.losses(model.readout(params, state), y)

        start = model.initial_state(params, batch.targets.shape[1])
        rows = batch.inputs, batch.targets, jnp.arange(LENGTH)
        return jnp.mean(lax.scan(step, start, rows)[1])

    return jax.grad(whole)(params)


def careful(model: RNN, params: Params, batch: Batch) -> PyTree:
    """A scan over segments of `jax.grad`, the readout of a segment's states all at once."""

    def segment_loss(params, state, inputs, targets):
        def step(state, x):
            state = model.step(params, state, x)
            return state, state

        last, states = lax.scan(step, state, inputs)
        outputs = model.readout(params, states)
        return jnp.mean(jax.vmap(model.losses)(outputs, targets)), last

    def segment(carry, part):
        state, total = carry
        grads, state = jax.grad(segment_loss, has_aux=True)(params, state, *part)
        return (state, jax.tree.map(jnp.add, total, grads)), None

    parts = jax.tree.map(lambda leaf: leaf.reshape(-1, TAU, *leaf.shape[1:]), (batch.inputs, batch.targets))
    start = model.initial_state(params, batch.targets.shape[1]), jax.tree.map(jnp.zeros_like, params)
    (_, total), _ = lax.scan(segment, start, parts)
    return jax.tree.map(lambda leaf: leaf * TAU / LENGTH, total)


def by_torch(at: Problem) -> tuple[Callable, PyTree]:
    """The usual loop, `state.detach()` and `backward()` once a segment; and its gradient in our order of gates."""
    import torch

    kinds = {"tanh": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    order = {"tanh": [0], "lstm": [0, 1, 3, 2], "gru": [0, 1, 2]}[at.model.cell.name]  # type: ignore[attr-defined]
    hidden = at.model.cell.hidden
    inputs = torch.tensor(np.array(at.batch.inputs))
    targets = torch.tensor(np.array(at.batch.targets), dtype=torch.long)
    network = kinds[at.model.cell.name](SYMBOLS, hidden, dtype=inputs.dtype)  # type: ignore[attr-defined]
    readout = torch.nn.Linear(hidden, SYMBOLS, dtype=inputs.dtype)

    def reordered(leaf: Any) -> Any:
        return np.concatenate([np.split(np.asarray(leaf), len(order))[i] for i in order])

    cell, read = at.params["cell"], at.params["readout"]
    weights = {
        network.weight_ih_l0: reordered(cell["W_hx"]),
        network.weight_hh_l0: reordered(cell["W_hh"]),
        network.bias_ih_l0: reordered(cell["b_h"]),
        network.bias_hh_l0: np.zeros(len(order) * hidden),
        readout.weight: np.asarray(read["W_qh"]),
        readout.bias: np.asarray(read["b_q"]),
    }
    with torch.no_grad():
        for parameter, value in weights.items():
            parameter.copy_(torch.tensor(value))

    def one_gradient():
        network.zero_grad()
        readout.zero_grad()
        state = None
        for first in range(0, LENGTH, TAU):
            states, state = network(inputs[first : first + TAU], state)
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            outputs = readout(states).reshape(-1, SYMBOLS)
            chunk = torch.nn.functional.cross_entropy(outputs, targets[first : first + TAU].reshape(-1))
            (chunk * TAU / LENGTH).backward()
        return network.weight_hh_l0.grad

    one_gradient()
    own: Any = {"W_hx": network.weight_ih_l0, "W_hh": network.weight_hh_l0, "b_h": network.bias_ih_l0}
    given = {
        "cell": {name: reordered(parameter.grad) for name, parameter in own.items()},
        "readout": {"W_qh": readout.weight.grad, "b_q": readout.bias.grad},
    }
    return one_gradient, jax.tree.map(np.array, given)


def keep(table: pl.DataFrame, device: str, folder: Path) -> None:
    """The table and its figure, in a folder of the device's name."""
    folder = folder_of(folder, "speed", device)
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    write_atomically(folder / "table.parquet", buffer.getvalue())
    save(lambda: {"gradient": figure(table, device)}, folder)
    print(f"\n{folder}: table.parquet, gradient.svg, gradient.png")


def figure(table: pl.DataFrame, device: str) -> Any:
    """How many times as long as ours each peer takes, a group of bars a network."""
    drawn, ((axes,),) = panels(1, 1, width=6.4, height=2.9)
    networks = table.select("cell", "batch_size", "hidden").unique(maintain_order=True).rows()
    peers = [peer for peer in PEERS if peer != "ours" and peer in table["peer"]]
    for place, (peer, colour) in enumerate(zip(peers, ("#882255", "#DDCC77", "#44AA99"))):
        ratios = [one(table, network, peer) / one(table, network, "ours") for network in networks]
        at = np.arange(len(networks)) + (place - (len(peers) - 1) / 2) * 0.27
        axes.bar(at, ratios, 0.25, color=colour, label=PEERS[peer])
        for x, ratio in zip(at, ratios):
            axes.annotate(f"{ratio:.2g}", (x, ratio), ha="center", va="bottom", fontsize=7)
    axes.axhline(1, color="0.2", linewidth=0.9)
    axes.set(yscale="log", ylabel="seconds / ours", yticks=[0.5, 1, 2, 5, 10], yticklabels=["0.5", "1", "2", "5", "10"])
    ours = [f"{1e3 * one(table, network, 'ours'):.3g} ms" for network in networks]
    names = [f"{cell}\nB {b}, h {h}\n{time}" for (cell, b, h), time in zip(networks, ours)]
    axes.set_xticks(range(len(networks)), names, fontsize=7.5)
    slower = sum(one(table, network, "careful") < one(table, network, "ours") for network in networks)
    words = "never slower than" if not slower else f"slower in {slower} of {len(networks)} than"
    axes.set_title(f"One truncated gradient on {device} (T = {LENGTH}, τ = {TAU}):\n{words} a careful program by hand")
    axes.legend(fontsize="small", ncols=len(peers))
    return drawn


def one(table: pl.DataFrame, network: tuple, peer: str) -> float:
    cell, batch_size, hidden = network
    return table.row(
        by_predicate=(pl.col("cell") == cell)
        & (pl.col("batch_size") == batch_size)
        & (pl.col("hidden") == hidden)
        & (pl.col("peer") == peer),
        named=True,
    )["seconds"]
