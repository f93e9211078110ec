"""How long a cut gradient takes to be made, against the plain one: traced, lowered and compiled, and how large it is.

The network is one that knows nothing of truncation: an embedding, an LSTM, a layer norm, a GRU and a readout of
flax.nnx, whose loss `truncate` cuts; beside it, a network of this package and its `gradient`.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tbptt_jax.estimators import Full, Randomized, Segment, Window
from tbptt_jax.estimators.base import Estimator, gradient
from tbptt_jax.forward import loss
from tbptt_jax.models import Batch
from tbptt_jax.networks import rnn
from tbptt_jax.programs.truncate import truncate

LENGTH, BATCH, SYMBOLS, HIDDEN = 256, 8, 28, 64
CUTS = [Full(), Segment(16), Window(16), Randomized(0.9)]


def main(rounds: int = 9) -> None:
    print(f"T = {LENGTH}, B = {BATCH}, {HIDDEN} hidden, float32; medians of {rounds}, alternating")
    print("\n                              make (s)   of the plain one   program (kB of text)")
    for network, programs in {"flax.nnx, truncate": of_flax(), "tb.rnn, gradient": of_ours()}.items():
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        sizes = {name: len(lowered(*program).as_text()) / 1e3 for name, program in programs.items()}
        for _ in range(rounds):
            for name, program in programs.items():
                jax.clear_caches()
                start = time.perf_counter()
                lowered(*program).compile()
                seconds[name].append(time.perf_counter() - start)
        print(network)
        plain = median(seconds["jax.grad"])
        for name, found in seconds.items():
            print(f"  {name:24}{median(found):12.2f}{median(found) / plain:19.2f}{sizes[name]:23.0f}", flush=True)


def lowered(function: Callable, arguments: tuple) -> Any:
    """A new function each time: nothing of it has been traced before."""
    return jax.jit(lambda *arguments: function(*arguments)).lower(*arguments)


def of_flax() -> dict[str, tuple[Callable, tuple]]:
    params, loss_of = two_layers()
    symbols = jnp.zeros((BATCH, LENGTH + 1), int)
    cuts = {str(cut): jax.grad(truncate(loss_of, cut, key=jax.random.key(1))) for cut in CUTS}
    return {name: (function, (params, symbols)) for name, function in ({"jax.grad": jax.grad(loss_of)} | cuts).items()}


def two_layers() -> tuple[PyTree, Callable]:
    """Parameters of the flax network, and its loss."""
    import optax
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.embed = nnx.Embed(SYMBOLS, HIDDEN, rngs=rngs)
            self.first = nnx.RNN(nnx.LSTMCell(HIDDEN, HIDDEN, rngs=rngs))
            self.norm = nnx.LayerNorm(HIDDEN, rngs=rngs)
            self.second = nnx.RNN(nnx.GRUCell(HIDDEN, HIDDEN, rngs=rngs))
            self.readout = nnx.Linear(HIDDEN, SYMBOLS, rngs=rngs)

        def __call__(self, symbols: Any) -> Any:
            return self.readout(self.second(self.norm(self.first(self.embed(symbols)))))

    graph, *states = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)
    params, rest = states

    def loss_of(params, symbols):
        logits = nnx.merge(graph, params, rest, copy=True)(symbols[:, :-1])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, symbols[:, 1:]))

    return params, loss_of


def of_ours() -> dict[str, tuple[Callable, tuple]]:
    model = rnn("lstm", SYMBOLS, HIDDEN, SYMBOLS, layers=2)
    symbols = jnp.zeros((LENGTH, BATCH), int)
    batch = Batch(jax.nn.one_hot(symbols, SYMBOLS), symbols)
    arguments = model.init(jax.random.key(0)), batch

    def ours(est: Estimator):
        return lambda params, batch: gradient(est, model, params, batch, jax.random.key(1))

    programs = {"jax.grad": jax.grad(partial(loss, model))} | {str(cut): ours(cut) for cut in CUTS}
    return {name: (function, arguments) for name, function in programs.items()}
