"""`tbptt new`: a file to start from, which runs and passes `tbptt check` as it is."""

import keyword
import re
from pathlib import Path

from tbptt_jax import experiments
from tbptt_jax.errors import UserError
from tbptt_jax.files import require_folder_of, write_atomically

ESTIMATOR = '''"""An estimator: tbptt check "FILE:NAME()", then tbptt run bias_variance --add-estimator "FILE:NAME"."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import tbptt_jax as tb
from tbptt_jax.estimators.laws import Independent


@dataclass(frozen=True)
class NAME(tb.GatedEstimator):
    """Say in a line what it does: here, each step passes its credit on with probability keep, reweighted."""

    keep: float = 0.9
    unbiased = "chunk"  # "chunk" or "stream" if the mean of the estimates is the gradient, else "never"

    def gates(self, key, length, batch_size):
        """The factor [T, B] on the credit that flows from step t into the state before it."""
        return jax.random.bernoulli(self.require_key(key), self.keep, (length, batch_size)) / self.keep

    def law(self, length):
        """How the gates are distributed, so that variances are exact: the mean and the variance of each step's."""
        return Independent(jnp.ones(length), jnp.full(length, 1 / self.keep - 1))

    @classmethod
    def of_length(cls, tau):
        """What it is where an experiment asks for a mean length of tau steps, a number above 1."""
        return cls(keep=1 - 1 / tau)

    @property
    def nominal_length(self):
        return 1 / (1 - self.keep)
'''
TASK = '''"""A task: tbptt check "FILE:NAME()", then tbptt run long_dependencies --task "FILE:NAME()"."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import tbptt_jax as tb


@dataclass(frozen=True)
class NAME(tb.Task):
    """Say in a line what is asked for: here, the parity of the bits so far."""

    length: int = 12
    batch_size: int = 32
    inputs, outputs = 2, 2  # how many numbers a step reads, and how many the loss reads

    def batch(self, key):
        """Fresh sequences, time first: inputs and targets [T, B, ...]."""
        bits = jax.random.bernoulli(key, shape=(self.length, self.batch_size)).astype(int)
        return tb.Batch(jax.nn.one_hot(bits, 2), jnp.cumsum(bits, axis=0) % 2)

    def floors(self):
        """The best loss that there is, and the best without memory, in nats."""
        return {"best": 0.0, "blind": float(jnp.log(2))}
'''
EXPERIMENT = '''"""An experiment: tbptt run FILE --scale smoke, then tbptt run FILE --until-decided."""

import matplotlib.pyplot as plt
import polars as pl
import tbptt_jax as tb

RATES = [3e-3, 1e-2]


def measure(config, key):
    """The rows of one cell: a mapping of axes, with the estimator and the task that they name as objects."""
    import optax

    task = config.task
    history = tb.train(
        task.model("tanh", config["hidden"]),
        config.estimator,
        task,
        optax.adam,
        steps=config["updates"],
        key=key,
        learning_rates=RATES,
        seeds=1,
    )
    losses = history.held_out[:, 0]
    return [
        {"learning_rate": rate, "selection": float(loss[:-1].min()), "report": float(loss[-1])}
        for rate, loss in zip(RATES, losses)
    ]


def side(series):
    return tb.lab.Side(series, pl.col("series") == series, best=["learning_rate"])


def plot(table):
    figure, axes = plt.subplots(layout="constrained")
    for (series,), rows in table.group_by("series", maintain_order=True):
        axes.plot(rows["seed"], rows["report"], "o", label=series)
    axes.set(xlabel="seed", ylabel="loss")
    axes.legend()
    return {"losses": figure}


AXES = {
    "task": ["agreement(distance=8)"],
    "estimator": ["segment(tau=2)", "randomized(keep=0.5)"],
    "hidden": 16,
}
experiment = tb.lab.Experiment(
    name="NAME",
    source="where the question comes from",
    summary="what is asked, in a line",
    axes={
        "smoke": AXES | {"updates": 20, "seed": [0, 1]},
        "default": AXES | {"updates": 500, "seed": [0, 1, 2, 3, 4]},
    },
    measure=measure,
    plot=plot,
    claims=[
        tb.lab.Claim(
            "Randomized truncation ends below segments of its expected length.",
            "a guess, written before the run",
            "report",
            side("randomized(keep=0.5)"),
            side("segment(tau=2)"),
            "below",
            margin=0.01,
        )
    ],
)
'''
KINDS = {"estimator": ESTIMATOR, "task": TASK, "experiment": EXPERIMENT}


def new_command(kind: str, name: str, folder: Path) -> int:
    """Write the file, under the name in the style of files; a class has it in the style of classes."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if not words.isidentifier() or keyword.iskeyword(words):
        raise UserError(f"new: a name of letters, digits and underscores is needed, got {name!r}")
    shown = words if kind == "experiment" else "".join(word.capitalize() for word in words.split("_"))
    if keyword.iskeyword(shown):
        raise UserError(f"new: a name that Python has no other use for is needed, got {name!r}")
    if kind == "experiment" and words in experiments.names():
        raise UserError(f"new: {name!r} is an experiment that is installed; choose another name")
    file = folder / f"{words}.py"
    require_folder_of("--folder", file)
    if file.exists():
        raise UserError(f"new: {file} is there already")
    write_atomically(file, KINDS[kind].replace("FILE", file.name).replace("NAME", shown).encode())
    print(f"{file}: its first line says how to go on")
    return 0
