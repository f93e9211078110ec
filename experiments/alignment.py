"""How well the estimators agree, with the exact gradient and with each other, while a network learns.

A network is trained by full backpropagation; at every evaluation every estimator gives its estimates on one batch,
which those that learn from chunk to chunk have seen some times before. The cosines of the recurrent weights' gradients
are taken, with the exact one and of every pair, as in the unified framework of Marschall et al. The readout's part is
left out: it is exact in all estimators but those that perturb or take random directions.
"""

import jax
import jax.numpy as jnp
import optax
import polars as pl
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.estimators.base import settled
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.learning import error_of_difference, judged
from tbptt_jax.plots.alignment import draw

WARMUP = 500


def cosines(model, ests, params, batch, key, samples):
    """Mean cosines of single estimates `[E, E]`; of an estimator with itself, of two of its estimates."""
    size = batch.targets.shape[1]
    carries = [settled(est, model, params, batch, jax.random.fold_in(key, i), WARMUP) for i, est in enumerate(ests)]

    def once(est, carry, key):
        start_key, key = jax.random.split(key)
        start = est.restart(model, params, carry, size, start_key)
        return ravel_pytree(est(model, params, start, batch, key)[0].grads["cell"])[0]

    def all_once(key):
        return jnp.stack([once(*each) for each in zip(ests, carries, jax.random.split(key, len(ests)))])

    def pair(key):
        one, other = map(all_once, jax.random.split(key))
        one, other = (g / jnp.linalg.norm(g, axis=1, keepdims=True) for g in (one, other))
        return one @ other.T

    matrix = jnp.mean(jax.lax.map(pair, jax.random.split(key, samples)), axis=0)
    return (matrix + matrix.T) / 2


def measure(config, key):
    task = tb.make_task(config["task"])
    model = task.model(config["cell"], config["hidden"])
    ests = [tb.Full(), *(tb.make_estimator(text) for text in config["estimators"].split("; "))]
    batch, _, _ = task.chunk(task.start(jax.random.key(7)))

    def watch(params):
        return cosines(model, ests, params, batch, jax.random.key(8), config["samples"])

    history = tb.train(
        model,
        tb.Full(),
        task,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3)),
        steps=config["updates"],
        key=key,
        evaluations=8,
        seeds=config["seeds"],
        watch=watch,
        checkpoint=tb.lab.checkpoint("training"),
    )
    rows = []
    for i, est in enumerate(ests):
        for replica in range(config["seeds"]):
            cosine = history.watched[replica, :, 0, i]
            rows.append(
                {"name": str(est), "replica": replica, "first": float(cosine[0]), "last": float(cosine[-1])}
                | {"mean": float(cosine.mean()), "held_out": float(history.held_out[replica, -1])}
                | {"curve_updates": history.step, "curve_cosine": cosine, "pairs": history.watched[replica, -1, i]}
            )
    return rows


def of(table, names):
    rows = table.group_by(["cell", "name"], maintain_order=True).agg(pl.col("mean").mean())
    rows = rows.filter(pl.col("name").str.extract(r"^(\w+)\(").is_in(names))
    if rows.is_empty():
        raise ValueError(f"{names} were not measured")
    return rows


def said(rows):
    return ", ".join(f"{cell} {name} {value:.2f}" for cell, name, value in rows.iter_rows())


def exact_ones_agree(table):
    rows = of(table, ["rtrl"])
    return Verdict("reproduced" if (rows["mean"] > 0.999).all() else "not reproduced", f"mean cosine: {said(rows)}")


def biased_are_better_aligned(table):
    """Of all pairs of a biased and a noisy unbiased estimator, how often the biased one has the larger cosine."""
    kinds = tb.estimators().items()
    biased = of(table, [name for name, kind in kinds if kind.unbiased == "never"])
    noisy = of(table, [name for name, kind in kinds if kind.unbiased != "never" and name not in ("full", "rtrl")])
    pairs = biased.join(noisy, on="cell", suffix="_noisy")
    won = pairs.filter(pl.col("mean") > pl.col("mean_noisy")).height
    figure = f"the biased one has the larger cosine in {won} of {pairs.height} pairs; {said(biased)}; {said(noisy)}"
    good, bad = won >= 0.9 * pairs.height, won <= 0.5 * pairs.height
    return Verdict("reproduced" if good else "not reproduced" if bad else "undecided", figure)


def snap_is_better_than_rflo(table):
    snap, rflo = of(table, ["snap"]), of(table, ["rflo"])
    both = snap.join(rflo, on="cell", suffix="_rflo")
    error = error_of_difference(table, ["cell", "name"], "mean")
    pairs = list(both.select("mean_rflo", "mean").iter_rows())
    return judged(pairs, error, f"mean cosines (± {error:.2f}): {said(snap)}; {said(rflo)}")


MARSCHALL = "Marschall, Cho & Savin 2020, A unified framework of online learning algorithms"
BIASED = ["segment(tau=4)", "window(tau=4)", "adaptive(delta=0.5, longest=16)", "snap()", "rflo()"]
EXACT_ON_AVERAGE = [
    *("randomized(keep=0.75)", "artbp(length=4)", "optimal(keep=0.75)", "telescope()"),
    *("rtrl()", "uoro()", "kf_rtrl()", "es()", "pes()", "nres()", "forward_gradient(directions=8)"),
]
AXES = {
    "task": "copy(length=32, batch_size=8, longest=5)",
    "estimators": "; ".join(BIASED + EXACT_ON_AVERAGE),
    "hidden": 16,
}
experiment = Experiment(
    name="alignment",
    source=MARSCHALL,
    summary="cosines of every estimator with the exact gradient and with each other, during training",
    axes={
        "smoke": AXES | {"cell": "tanh", "updates": 100, "samples": 4, "seeds": 1},
        "default": AXES | {"cell": ["tanh", "lstm"], "updates": 1000, "samples": 32, "seeds": 2},
        "paper": AXES | {"cell": ["tanh", "lstm"], "hidden": 32, "updates": 10_000, "samples": 256, "seeds": 8},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("RTRL is the exact gradient within a chunk.", "an identity", exact_ones_agree),
        Claim(
            "Biased estimates are better aligned with the gradient than noisy unbiased ones.",
            MARSCHALL,
            biased_are_better_aligned,
        ),
        Claim("SnAp-1 is better aligned than RFLO.", "Menick et al. 2021", snap_is_better_than_rflo),
    ),
)
