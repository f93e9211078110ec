"""Does truncation constrain the model? What a trained network has become, against the length it was trained with.

A network that is large for its text is trained on windows of 64 steps from anywhere in it, so often that it begins to
learn them by heart: by truncations of all lengths, with equal data and equal updates, and beside them with zoneout, a
regulariser that keeps every unit's old value with some probability. Then: the gap between its loss on held-out text and
on text that it was trained on, the spectral radius of its W_hh, how fast its credit fades, and its horizon, the lag
within which 95% of a loss's credit lies.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.analysis.horizon import credit_norms, decay_rate
from tbptt_jax.cells import spectral_radius
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import learning_rows
from tbptt_jax.plots.regularization import draw

RATE = 3e-3
LENGTH = 64
GROUP = ["estimator", "tau", "zoneout"]


@dataclass(frozen=True)
class ZoneoutModel(tb.Model):
    """A model whose state keeps the part of each unit's old value that its inputs (x, kept `[B, H]`) say."""

    model: tb.Model

    def init(self, key):
        return self.model.init(key)

    def initial_state(self, params, batch_size):
        return self.model.initial_state(params, batch_size)

    def step(self, params, state, x):
        x, kept = x
        return kept * state + (1 - kept) * self.model.step(params, state, x)

    def readout(self, params, state):
        return self.model.readout(params, state)

    def losses(self, output, target):
        return self.model.losses(output, target)


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

    def model(self, cell="tanh", hidden=32, **options):
        return ZoneoutModel(self.task.model(cell, self.hidden, **options))

    def batch(self, key):
        return self.noisy(self.task.batch(key), key)

    def held_out(self, key):
        """All of the held-out text, in windows as long as those that are trained on."""
        batch = self.task.held_out(key)

        def windows(leaf):
            count = len(leaf) // self.length
            cut = leaf[: count * self.length].reshape(count, self.length, *leaf.shape[1:])
            return jnp.moveaxis(cut, 0, 1).reshape(self.length, -1, *leaf.shape[2:])

        return self.calm(jax.tree.map(windows, batch))

    def start(self, key):
        key, task_key = jax.random.split(key)
        return key, self.task.start(task_key)

    def chunk(self, source, steps=None):
        key, now = jax.random.split(source[0])
        batch, fresh, task_source = self.task.chunk(source[1], steps)
        return self.noisy(batch, now), fresh, (key, task_source)

    def noisy(self, batch, key):
        shape = (*batch.targets.shape, self.hidden)
        return batch._replace(inputs=(batch.inputs, jax.random.bernoulli(key, self.rate, shape).astype(float)))

    def calm(self, batch):
        return batch._replace(inputs=(batch.inputs, jnp.full((*batch.targets.shape, 1), self.rate)))


def measure(config, key):
    est, rate = estimator_of(config), config["zoneout"]
    if rate and config["estimator"] != "full()":
        return []  # zoneout stands beside truncation, with the exact gradient
    text = replace(tb.make_task(config["task"]), length=LENGTH, order="random", validation=config["validation"])
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


def means(table):
    columns = ["held_out", "best_held_out", "train_loss", "gap", "radius", "decay", "horizon"]
    return table.group_by(GROUP).agg(pl.col(columns).mean()).sort(GROUP)


def trend(table, column, names=("segment", "window", "geometric")):
    """For each estimator, a column against τ, and whether it rises from the shortest to the longest."""
    found = {}
    for name in names:
        rows = means(table).filter(pl.col("estimator") == name).sort("tau")
        if rows.height > 1:
            found[name] = rows[column].to_list()
    if not found:
        raise ValueError("two lengths are needed")
    said = "; ".join(f"{name} {' → '.join(f'{value:.3g}' for value in values)}" for name, values in found.items())
    return all(values[-1] > values[0] for values in found.values()), said


def the_full(table, column):
    rows = means(table).filter((pl.col("estimator") == "full()") & (pl.col("zoneout") == 0))
    return rows[column][0]


def truncation_shortens_memory(table):
    rises, said = trend(table, "horizon")
    taus = "/".join(str(tau) for tau in sorted(table["tau"].drop_nulls().unique()))
    figure = f"horizon in steps, by τ = {taus}: {said}; full {the_full(table, 'horizon'):.3g}"
    return Verdict("reproduced" if rises else "not reproduced", figure)


def truncation_closes_the_gap(table):
    rises, said = trend(table, "gap")
    figure = f"held-out minus training loss (nats), by τ: {said}; full {the_full(table, 'gap'):.3g}"
    return Verdict("reproduced" if rises else "not reproduced", figure)


def truncation_generalizes_better(table):
    rows = means(table)
    full = the_full(table, "held_out")
    cut = rows.filter(pl.col("estimator").is_in(["segment", "window", "geometric"]))
    better = cut.filter(pl.col("held_out") < full)
    zoneout = rows.filter(pl.col("zoneout") > 0)
    figure = (
        f"held-out loss at the end: full {full:.3f}, truncated {cut['held_out'].min():.3f} to "
        f"{cut['held_out'].max():.3f} (better than full in {better.height} of {cut.height}), zoneout "
        f"{zoneout['held_out'].min():.3f} at best; at its best moment: full {the_full(table, 'best_held_out'):.3f}, "
        f"truncated {cut['best_held_out'].min():.3f} at best"
    )
    return Verdict("reproduced" if better.height > cut.height / 2 else "not reproduced", figure)


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
AXES = {
    "task": "time_machine",
    "estimator": ["full()", "segment", "window", "geometric", "randomized", "artbp"],
    "tau": [2, 4, 8, 16, 32],
    "zoneout": [0.0, 0.1, 0.3],
    "validation": 0.8,
    "hidden": 128,
}
experiment = Experiment(
    name="regularization",
    source=CHAPTER,
    version=2,
    summary="what truncation makes of the model: horizon, spectral radius and the gap to held-out text, beside zoneout",
    axes={
        "smoke": AXES | {"tau": [2, 16], "hidden": 32, "updates": 200, "seeds": 2},
        "default": AXES | {"updates": 1500, "seeds": 2},
        "paper": AXES | {"tau": [2, 4, 8, 16, 32, 64], "hidden": 512, "updates": 10_000, "seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim(
            "A model that is trained with short truncation looks back less far.", CHAPTER, truncation_shortens_memory
        ),
        Claim(
            "Truncation makes the gap between training and held-out loss smaller.", CHAPTER, truncation_closes_the_gap
        ),
        Claim(
            "Truncation regularizes: held-out loss is smaller than with full gradients.",
            CHAPTER,
            truncation_generalizes_better,
        ),
    ),
)
