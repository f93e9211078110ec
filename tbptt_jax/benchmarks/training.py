"""32 trainings side by side against the same one after another: runs a second, for small and large batches.

One after another, a training is a compiled loop of updates that is called 32 times. Side by side is what `train` does
with 32 seeds: runs vectorised on a device, and spread over the local devices, one for each core.
"""

from functools import partial

import jax
import optax

from tbptt_jax.benchmarks.timing import alternate
from tbptt_jax.estimators.full import Full
from tbptt_jax.tasks.a_n_b_n import AnBn
from tbptt_jax.tasks.base import Task
from tbptt_jax.training.loop import compiled

RUNS, LENGTH, HIDDEN, UPDATES = 32, 32, 32, 50


def main(rounds: int = 9) -> None:
    devices = jax.local_devices()
    print(f"{len(devices)} x {devices[0].device_kind}; medians of {rounds}, alternating")
    print(f"T = {LENGTH}, tanh, {HIDDEN} hidden, sgd, {UPDATES} updates of each of {RUNS} runs, float32")
    print("\n         one after another (ms an update)   side by side (ms an update)   ratio")
    for batch_size in (1, 4, 16, 32):
        task = AnBn(LENGTH, batch_size)
        medians = alternate({count: legs(task, count) for count in (1, RUNS)}, rounds)
        alone, together = (medians[count] * 1e3 / (RUNS * UPDATES) for count in (1, RUNS))
        print(f"B = {batch_size:2}   {alone:33.4f}   {together:27.4f}   {alone / together:5.1f}", flush=True)


def legs(task: Task, count: int):
    """A program that makes all updates of all runs, `count` of them at once."""
    model = task.model("tanh", HIDDEN)
    programs = compiled(model, Full(), task, optax.sgd(0.1), False, 1, None, count, None)
    keys = jax.random.split(jax.random.key(0), count)
    rates = jax.numpy.zeros(count)
    leg = partial(programs.leg, rates, programs.begin(rates, keys), UPDATES)
    return lambda: [leg() for _ in range(RUNS // count)]
