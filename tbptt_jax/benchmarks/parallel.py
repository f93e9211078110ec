"""A linear recurrence step by step against all steps at once: one gradient of a minGRU with segments of 16."""

from functools import partial

import jax

from tbptt_jax.benchmarks.timing import alternate
from tbptt_jax.estimators import Segment
from tbptt_jax.estimators.base import Estimator, gradient
from tbptt_jax.models import Batch
from tbptt_jax.networks import rnn

SYMBOLS, TAU = 28, 16
SIZES = [(256, 1, 32), (2048, 1, 32), (256, 32, 128), (2048, 8, 128)]
"""Steps, sequences, units."""


def main(rounds: int = 9) -> None:
    print(f"mingru, segments of {TAU}, float32; medians of {rounds}, alternating")
    print("\n     T     B     H   step by step (ms)   all at once   as long")
    for sizes in SIZES:
        length, batch_size, hidden = sizes
        seconds = alternate(gradients(*sizes), rounds)
        steps, tree = 1e3 * seconds["step by step"], 1e3 * seconds["all at once"]
        print(f"{length:6}{batch_size:6}{hidden:6}{steps:20.2f}{tree:14.2f}{tree / steps:10.2f}", flush=True)


def gradients(length: int, batch_size: int, hidden: int) -> dict:
    """The same gradient in both ways."""
    model = rnn("mingru", SYMBOLS, hidden, SYMBOLS)
    params = model.init(jax.random.key(0))
    symbols = jax.random.randint(jax.random.key(1), (length + 1, batch_size), 0, SYMBOLS)
    batch = Batch(jax.nn.one_hot(symbols[:-1], SYMBOLS), symbols[1:])

    def compiled(est: Estimator):
        return partial(jax.jit(lambda params, batch: gradient(est, model, params, batch)), params, batch)

    return {"step by step": compiled(Segment(TAU)), "all at once": compiled(Segment(TAU, parallel=True))}
