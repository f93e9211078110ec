"""What one cell measures."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import tbptt_jax as tb
from tbptt_jax.analysis.horizon import credit_norms, decay_rate
from tbptt_jax.cells import spectral_radius
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.learning import learning_rows
from tbptt_jax.models import Around, Batch, Params

RATE = 3e-3
LENGTH = 64
GROUP = ["series", "tau", "zoneout"]


@dataclass(frozen=True)
class ZoneoutModel(Around):
    """A model whose state keeps the part of each unit's old value that its inputs (x, kept `[B, H]`) say."""

    def step(self, params: Params, state: PyTree, x: PyTree):
        x, kept = x
        return kept * state + (1 - kept) * self.model.step(params, state, x)


@dataclass(frozen=True)
class Zoneout(tb.Task):
    """A task with zoneout: units keep their old value with probability `rate` in training, and by that part on average
    where it is evaluated (Krueger et al. 2017)."""

    task: tb.Task
    rate: float
    hidden: int

    @property
    def streams(self):
        return self.task.streams

    @property
    def length(self):
        return self.task.length

    def model(self, cell: Any = "tanh", hidden: int = 32, **options: Any):
        return ZoneoutModel(self.task.model(cell, self.hidden, **options))

    def batch(self, key: Array):
        return self.noisy(self.task.batch(key), key)

    def held_out(self, key: Array):
        """All of the held-out text, in windows as long as those that are trained on."""
        batch = self.task.held_out(key)

        def windows(leaf):
            count = len(leaf) // self.length
            cut = leaf[: count * self.length].reshape(count, self.length, *leaf.shape[1:])
            return jnp.moveaxis(cut, 0, 1).reshape(self.length, -1, *leaf.shape[2:])

        return self.calm(jax.tree.map(windows, batch))

    def start(self, key: Array):
        key, task_key = jax.random.split(key)
        return key, self.task.start(task_key)

    def chunk(self, source: PyTree, steps: Any = None):
        key, now = jax.random.split(source[0])
        batch, fresh, task_source = self.task.chunk(source[1], steps)
        return self.noisy(batch, now), fresh, (key, task_source)

    def noisy(self, batch: Batch, key: Array):
        shape = (*batch.targets.shape, self.hidden)
        return batch._replace(inputs=(batch.inputs, jax.random.bernoulli(key, self.rate, shape).astype(float)))

    def calm(self, batch: Batch):
        return batch._replace(inputs=(batch.inputs, jnp.full((*batch.targets.shape, 1), self.rate)))


def measure(config: Config, key: Array):
    est, rate = config.estimator, config["zoneout"]
    if rate and est != tb.Full():
        return []  # zoneout stands beside truncation, with the exact gradient
    text = replace(config.task, length=LENGTH, order="random", validation=config["validation"])
    task = Zoneout(text, float(rate), config["hidden"])
    model = task.model("tanh")
    history = tb.train(
        model,
        est,
        task,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE)),
        steps=config["updates"],
        key=key,
        evaluations=12,
        seeds=config["seeds"],
        checkpoint=tb.lab.checkpoint("training"),
    )

    @jax.jit
    @jax.vmap
    def become(params):
        batch = task.calm(text.batch(jax.random.key(1)))
        short = jax.tree.map(lambda leaf: leaf[:, :8], batch)
        norms = credit_norms(model, params, short)
        seen = [tb.loss(model, params, task.calm(text.batch(k))) for k in jax.random.split(jax.random.key(2), 8)]
        within = jnp.cumsum(norms[-16:], axis=1) / jnp.sum(norms[-16:], axis=1, keepdims=True)
        return {
            "radius": spectral_radius(params["cell"]["W_hh"]),
            "decay": decay_rate(norms, 2, 24),
            "horizon": jnp.mean(jnp.sum(within < 0.95, axis=1) + 1.0),
            "train_loss": jnp.mean(jnp.stack(seen)),
        }

    found = {name: np.asarray(value)[None] for name, value in become(history.params).items()}
    one_rate = history._replace(
        **{name: getattr(history, name)[None] for name in ("seen", "loss", "held_out", "diverged_at")}
    )
    rows = learning_rows(one_rate, [RATE], **found)
    for row in rows:
        row["gap"] = row["held_out"] - row["train_loss"]
    return rows
