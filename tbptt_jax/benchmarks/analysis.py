"""Gradients a second: randomized ones against `vmap(grad(scan))`, and all lags at once against one gradient a lag.

The peers are the definition as one writes it: `stop_gradient` in `lax.scan`, the readout and the loss in the loop,
`jax.grad`. Each side uses the number of samples at once that suits it best.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax.analysis.cost import count
from tbptt_jax.analysis.spectrum import lag_spectrum
from tbptt_jax.benchmarks.timing import alternate, matrix_rate
from tbptt_jax.estimators.randomized import Randomized
from tbptt_jax.gradients.cuts.definition import scan_by_definition
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.networks import rnn
from tbptt_jax.pytree import Real

LENGTH, SYMBOLS = 128, 28


def main(rounds: int = 9) -> None:
    rate = matrix_rate()
    print(
        f"{jax.devices()[0].device_kind}: matrix products at {rate / 1e9:.0f} GFLOP/s; medians of {rounds}, alternating"
    )
    print(f"T = {LENGTH}, {SYMBOLS} symbols, tanh, float32; in brackets the part of the rate of matrix products")
    print("\nrandomized gradients          ours (ms each)               vmap(grad(scan)) (ms each)   ratio")
    for batch_size, hidden in ((1, 32), (16, 32), (16, 128)):
        report(f"B = {batch_size:2}, {hidden:3} hidden", randomized(batch_size, hidden), rate, rounds)
    print("\nall lags of the gradient      ours (ms)                    one gradient a lag (ms)      ratio")
    for batch_size, hidden in ((1, 32), (16, 32)):
        report(f"B = {batch_size:2}, {hidden:3} hidden", all_lags(batch_size, hidden), rate, rounds)


def report(name: str, sides: Any, rate: Any, rounds: int):
    """`sides`: of ours and the peer, programs by how many results they give at once, and a result's operations."""
    programs = {(side, n): program for side, (runs, _) in sides.items() for n, program in runs.items()}
    medians = alternate(programs, rounds)
    best = {side: min((medians[side, n] / n, n) for n in runs) for side, (runs, _) in sides.items()}
    cells = [
        f"{1e3 * seconds:8.3f} ({sides[side][1] / seconds / rate:4.0%}, {n:3} at once)"
        for side, (seconds, n) in best.items()
    ]
    print(f"{name:24} {'   '.join(cells)}   {best['peer'][0] / best['ours'][0]:.1f}", flush=True)


def problem(batch_size: int, hidden: int):
    model = rnn("tanh", SYMBOLS, hidden, SYMBOLS)
    symbols = jax.random.randint(jax.random.key(0), (LENGTH + 1, batch_size), 0, SYMBOLS)
    batch = Batch(jax.nn.one_hot(symbols[:-1], SYMBOLS), symbols[1:])
    return model, model.init(jax.random.key(1)), batch


def by_definition(model: Model, batch: Batch, params: Params, gates: Any):
    """The gradient with gates `[T, B]`, as one writes it."""

    def loss(params):
        def step(state, x_and_y):
            x, y = x_and_y
            state = model.step(params, state, x)
            return state, model.losses(model.readout(params, state), y)

        start = model.initial_state(params, batch.targets.shape[1])
        return jnp.mean(scan_by_definition(step, start, (batch.inputs, batch.targets), gates=gates)[1])

    return jax.grad(loss)(params)


def randomized(batch_size: int, hidden: int, keep: Real = 0.9):
    model, params, batch = problem(batch_size, hidden)
    est = Randomized(keep)

    def ours(params, key):
        return est(model, params, model.initial_state(params, batch_size), batch, key)[0].grads

    def peer(params, key):
        return by_definition(model, batch, params, est.gates(key, LENGTH, batch_size))

    def side(gradient):
        runs, many = {}, jax.jit(jax.vmap(gradient, (None, 0)))
        keys = jax.random.split(jax.random.key(2), 64)
        for n in (8, 16, 32, 64):
            runs[n] = partial(many, params, keys[:n])
        return runs, count(many, params, keys)[0] / len(keys)

    return {"ours": side(ours), "peer": side(peer)}


def all_lags(batch_size: int, hidden: int):
    """All G_k against T gradients by the definition, one a lag, each cut in another place."""
    model, params, batch = problem(batch_size, hidden)
    gradient = partial(by_definition, model, batch)
    ones = jnp.ones((LENGTH, batch_size))

    @jax.jit
    def ours():
        return lag_spectrum(model, params, batch).gradients

    @jax.jit
    def peer():
        return jax.lax.map(lambda cut: gradient(params, ones.at[cut].set(0.0)), jnp.arange(LENGTH))

    return {"ours": ({1: ours}, count(ours)[0]), "peer": ({1: peer}, LENGTH * count(gradient, params, ones)[0])}
