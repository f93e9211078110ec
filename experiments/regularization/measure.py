"""What one cell measures."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import tbptt_jax as tb
from tbptt_jax.analysis.horizon import credit_norms, decay_rate
from tbptt_jax.cells import spectral_radius
from tbptt_jax.experiments.time_machine.measure import losses_of_ngrams
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.masked import Dropout, Zoneout
from tbptt_jax.lab.protocol import chosen_and_reported, history_of, losses_apart
from tbptt_jax.tasks.text import Text

RATE = 3e-3
LENGTH = 64
EVALUATIONS = 12
EQUAL = 1.65
"""Nats a symbol: a loss in training that all estimators pass, at which they are compared."""


class Windows(Zoneout):
    """All of the held-out text, in windows as long as those that are trained on."""

    def held_out(self, key: Array):
        batch = self.task.held_out(key)

        def windows(leaf):
            count = len(leaf) // self.length
            cut = leaf[: count * self.length].reshape(count, self.length, *leaf.shape[1:])
            return jnp.moveaxis(cut, 0, 1).reshape(self.length, -1, *leaf.shape[2:])

        return self.calm(jax.tree.map(windows, batch))


def measure(config: Config, key: Array):
    text = replace(config.task, length=LENGTH, order="random", validation=config["validation"])
    task = Windows(text, float(config["zoneout"] or 0), config["hidden"])
    model = task.model("tanh")  # as it is evaluated: there, dropout changes nothing
    trained = Dropout(text, 1 - config["dropout"], config["hidden"]) if config["dropout"] else task
    apart = losses_apart(model, task)
    samples = [task.calm(text.batch(k)) for k in jax.random.split(jax.random.key(2), 8)]
    sample = jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *samples)

    def watch(params):
        return apart(params) | {"trained_on": tb.loss(model, params, sample)}

    history = history_of(config, trained.model("tanh"), trained, key, [RATE], EVALUATIONS, watch)
    short = jax.tree.map(lambda leaf: leaf[:, :8], sample)

    @jax.jit
    @jax.vmap
    def become(params):
        norms = credit_norms(model, params, short)
        within = jnp.cumsum(norms[-16:], axis=1) / jnp.sum(norms[-16:], axis=1, keepdims=True)
        return {
            "radius": spectral_radius(params["cell"]["W_hh"]),
            "decay": decay_rate(norms, 2, 24),
            "horizon": jnp.mean(jnp.sum(within < 0.95, axis=1) + 1.0),
        }

    became = jax.device_get(become(jax.tree.map(lambda leaf: leaf[0], history.params)))
    rows = chosen_and_reported(history, [RATE])
    for row in rows:
        trained_on = np.asarray(history.watched["trained_on"][0, row["run"]])
        row |= {name: float(values[row["run"]]) for name, values in became.items()}
        row |= {"trained_on": float(trained_on[-1]), "curve_trained_on": trained_on}
        row["at_equal_loss"] = where_it_falls_to(EQUAL, trained_on, row["curve_report"])
        row |= counted_in_windows(text)
    return rows


@cache
def counted_in_windows(text: Text) -> dict[str, float]:
    """The losses of n-grams on the windows that are reported, of which they see as much as a network does."""
    batch = Windows(text, 0.0, 1).held_out(jax.random.key(0))
    rows = np.vstack([np.argmax(batch.inputs[0][0], axis=1), batch.targets]).T
    half = len(rows) // 2
    return losses_of_ngrams(text.parts()[0], text.inputs, rows[:half], rows[half:])


def where_it_falls_to(level: float, falling: np.ndarray, values: np.ndarray) -> float | None:
    """Of values at the same moments, that at which the first series falls to a level, between moments on the line."""
    below = np.flatnonzero(falling <= level)
    if not len(below):
        return None
    at = below[0]
    if at == 0:
        return float(values[0])
    part = (falling[at - 1] - level) / (falling[at - 1] - falling[at])
    return float(values[at - 1] + part * (values[at] - values[at - 1]))
