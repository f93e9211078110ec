"""What one cell measures."""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.analysis.lengths import LEFT_OUT, Contributions, contributions, least_variance
from tbptt_jax.analysis.stretch import cut_by_step_and_age
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.experiments.break_even.measure import first_steps, trained
from tbptt_jax.experiments.break_even_memory.measure import at_memory, learned_gates
from tbptt_jax.lab.config import Config
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.tasks.base import Task

BEST = "best lengths"
STRETCHES = {"averaged": tb.exact.averaged_stretch, "longest": tb.exact.longest_stretch}


def measure(config: Config, key: Array):
    """The batches depend on the network alone, so that all memories are measured on the same ones."""
    task: Any = config.task
    network = config["cell"], config["hidden"]
    model, params = task.model(*network), trained(task, *network, config["training"], config.seed)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 1), 3)
    states, memory = config.tau, config["memory"]
    if memory not in STRETCHES:
        raise UserError(f"memory: one of {', '.join(STRETCHES)} is needed, got {memory!r}")
    gates = partial(learned_gates, model, params, task, states, config["chunks"], keys[0], STRETCHES[memory])
    batch = first_steps(task, config["sequences"], keys[2])
    sides = []
    for one in config.chosen:
        if not one.by_length or one.estimator.unbiased != "chunk":
            raise UserError(f"estimator: an unbiased one without arguments is needed, got {one.given}")
        (est,) = at_memory(one.estimator, states, task.length, gates, STRETCHES[memory]).values()
        sides.append(({"estimator": one.text, "series": one.series, "method": one.method}, est))
    seen = seen_before(task, network, config["training"], config.seed, config["sequences"])
    best = tb.ByAge(least_variance(seen, states, memory))
    sides.append(({"estimator": BEST, "series": BEST, "method": "by_age"}, best))
    return [
        row
        | {"variance": float(relative_variance(est, model, params, batch)), "cut": cuts_by_age(est, task.length)}
        | {f"{name}_states": stretch(est, task.length) for name, stretch in STRETCHES.items()}
        for row, est in sides
    ]


@lru_cache(maxsize=1)
def seen_before(task: Task, network: tuple[str, int], training: int, seed: int, sequences: int) -> Contributions:
    """Of sequences for the search alone."""
    model, params = task.model(*network), trained(task, *network, training, seed)
    key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), 3)[1]
    return contributions(model, params, first_steps(task, sequences, key), left_out=LEFT_OUT)


@partial(jax.jit, static_argnames="model")
def relative_variance(est: Estimator, model: Model, params: Params, batch: Batch) -> Array:
    """Over ‖g‖², the gradient of the same batch."""
    norm = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(tb.loss, 1)(model, params, batch)))
    return tb.exact.variance(est, model, params, batch) / norm


def cuts_by_age(est: Estimator, length: int) -> list[float] | None:
    """The chances of a cut after 1, 2, … steps of a segment, where they do not depend on the step."""
    chances = cut_by_step_and_age(est.law(length), length)
    if chances is None:
        return None
    chances = chances[1:]
    return chances[0, : length - 1].tolist() if np.allclose(chances, chances[0]) else None
