"""Where to cut: the variance of randomized truncation with the best keep probabilities, against equal ones and ARTBP.

All keep τ states on average for their gated backward pass. `optimal` has estimated its probabilities on other batches,
as it does in training, by passes that keep all states; its variance, as all others, is then exact. The least is that of
the best probabilities that were found for the very batch that is measured.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.plots.best_gates import draw

SYMBOLS, DELAY, BATCH = 4, 5, 4
GROUP = ["losses", "radius", "training", "tau"]
EVERY = {"every step": 1, "every 16th": 16, "last": None}


def echo_batch(key, length, losses):
    """Symbols, and as targets those of `DELAY` steps before; the loss is taken at some of the steps."""
    symbols = jax.random.randint(key, (length, BATCH), 0, SYMBOLS)
    every = EVERY[losses] or length
    taken = (jnp.arange(1, length + 1) % every == 0) & (jnp.arange(length) >= DELAY)
    weights = jnp.broadcast_to(taken[:, None], (length, BATCH)).astype(float)
    return tb.Batch(jax.nn.one_hot(symbols, SYMBOLS), jnp.roll(symbols, DELAY, axis=0), weights)


@cache
def networks(losses, radius, training, length, hidden, seeds, seed):
    """(model, params) of all seeds, after so many updates of full backpropagation with Adam."""
    model = tb.rnn("tanh", SYMBOLS, hidden, SYMBOLS, radius=radius)
    adam = optax.adam(3e-3)

    def trained(key):
        init_key, train_key = jax.random.split(key)
        params = model.init(init_key)

        def update(carry, key):
            params, state = carry
            grads = tb.gradient(tb.Full(), model, params, echo_batch(key, length, losses))
            changes, state = adam.update(grads, state)
            return (optax.apply_updates(params, changes), state), None

        (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), jax.random.split(train_key, training))
        return params

    return model, jax.jit(jax.vmap(trained))(jax.random.split(jax.random.key(seed), seeds))


def estimated_keeps(est, model, params, length, losses, key, chunks):
    """The probabilities that `optimal` has found after so many fresh batches."""

    def see(carry, key):
        data_key, key = jax.random.split(key)
        start = est.restart(model, params, carry, BATCH, None)
        return est(model, params, start, echo_batch(data_key, length, losses), key)[1], None

    carry, _ = jax.lax.scan(see, est.init(model, params, BATCH, None), jax.random.split(key, chunks))
    return est.chosen(carry, length)


@partial(jax.jit, static_argnames=("model", "length", "losses", "chunks"))
def figures(est, model, params, length, losses, key, chunks):
    """Over ‖g‖²: the variance of an estimator, and the least of all independent gates that are cut as often."""
    data_key, key = jax.random.split(key)
    batch = echo_batch(data_key, length, losses)
    norm = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(tb.loss, 1)(model, params, batch)))
    if isinstance(est, tb.Optimal):
        least = tb.exact.optimal_keeps(model, params, batch, est.keep)
        found = estimated_keeps(est, model, params, length, losses, key, chunks)
        est, best = (tb.Optimal(keeps=keeps) for keeps in (found, least))
        least = tb.exact.variance(best, model, params, batch)
    else:
        least = jnp.nan
    return tb.exact.variance(est, model, params, batch) / norm, least / norm


def measure(config, key):
    setting = {name: config[name] for name in ("losses", "radius", "training", "length", "hidden", "seeds")}
    model, params = networks(**setting, seed=config.get("seed", 0))
    keys = jax.random.split(jax.random.key(config.get("seed", 0) + 1), config["seeds"])  # one batch for all estimators
    one = partial(figures, estimator_of(config))
    variance, least = jax.lax.map(
        lambda each: one(model, each[0], config["length"], config["losses"], each[1], config["chunks"]), (params, keys)
    )
    rows = [{"replica": i, "variance": float(variance[i])} for i in range(config["seeds"])]
    if jnp.isfinite(least).all():
        rows = [row | {"least": float(least[i])} for i, row in enumerate(rows)]
    return rows


def side_by_side(table):
    """A row for each setting and seed: the variances of all three, and the least."""
    parts = [
        table.filter(pl.col("estimator") == name).select(*GROUP, "replica", pl.col("variance").alias(name))
        for name in ("randomized", "artbp")
    ]
    best = table.filter(pl.col("estimator") == "optimal")
    both = best.select(*GROUP, "replica", "least", pl.col("variance").alias("optimal"))
    for part in parts:
        both = both.join(part, on=[*GROUP, "replica"])
    if both.is_empty():
        raise ValueError("randomized, artbp and optimal are needed")
    return both


def ratios(table, above, below):
    """The median and the range of a ratio of two columns, by where the losses are."""
    # where a loss is the last alone, the variance of the best gates is 0 for all that floating point can tell
    ratio = (pl.col(above) / pl.col(below).clip(1e-12)).alias("ratio")
    parts = table.select(*GROUP, ratio).group_by("losses", maintain_order=True)
    means = parts.agg(pl.col("ratio").median().alias("mid"), pl.col("ratio").min().alias("low"), pl.max("ratio"))
    return "; ".join(f"{losses}: {mid:.3g} ({low:.3g} to {high:.3g})" for losses, mid, low, high in means.iter_rows())


def best_gates_are_better(table):
    both = side_by_side(table)
    won = both.filter(pl.col("least") < 0.9 * pl.col("randomized")).height
    figure = f"by more than a tenth in {won} of {both.height}; equal over least: {ratios(both, 'randomized', 'least')}"
    return Verdict("reproduced" if won >= 0.9 * both.height else "not reproduced", figure)


def estimate_is_good(table):
    """Below equal gates in nine of ten settings, and in the middle of those with losses at every step with at least
    half of the gain, on a logarithmic scale, that is to be had."""
    both = side_by_side(table)
    better = both.filter(pl.col("optimal") < pl.col("randomized"))
    equal = pl.col("randomized").log()
    gained = (equal - pl.col("optimal").log()) / (equal - pl.col("least").log())
    gain = both.filter((pl.col("losses") == "every step") & (pl.col("least") < pl.col("randomized"))).select(gained)
    gain = gain.to_series().median()
    figure = (
        f"below equal gates in {better.height} of {both.height}; equal over estimated: "
        f"{ratios(both, 'randomized', 'optimal')}; with losses at every step it has {gain:.2f} of the logarithm of the "
        "gain in the middle"
    )
    return Verdict("reproduced" if better.height >= 0.9 * both.height and gain > 0.5 else "not reproduced", figure)


def artbp_is_between(table):
    both = side_by_side(table)
    better = both.filter(pl.col("artbp") < pl.col("randomized")).height
    worse = both.filter(pl.col("artbp") > pl.col("least")).height
    beaten = both.filter(pl.col("artbp") < pl.col("least")).group_by("tau").len().sort("tau").iter_rows()
    figure = (
        f"below equal gates in {better} of {both.height}, above the least in {worse} (below it in "
        f"{', '.join(f'{count} at τ = {tau}' for tau, count in beaten) or 'none'}); artbp over least: "
        f"{ratios(both, 'artbp', 'least')}"
    )
    good = better >= 0.9 * both.height and worse >= 0.9 * both.height
    return Verdict("reproduced" if good else "not reproduced", figure)


OURS = "this package"
AXES = {"estimator": ["randomized", "artbp", "optimal"], "hidden": 8}
experiment = Experiment(
    name="best_gates",
    source=OURS,
    summary="where to cut: variance with the best keep probabilities, against equal ones and ARTBP",
    axes={
        "smoke": AXES
        | {"losses": ["every step", "last"], "radius": 0.95, "training": 0}
        | {"tau": [2, 8], "length": 32, "chunks": 200, "seeds": 2},
        "default": AXES
        | {"losses": list(EVERY), "radius": [0.6, 0.95, 1.2], "training": [0, 300]}
        | {"tau": [2, 4, 8, 16], "length": 64, "chunks": 500, "seeds": 4},
        "paper": AXES
        | {"losses": list(EVERY), "radius": [0.6, 0.8, 0.95, 1.2], "training": [0, 300, 3000], "hidden": 32}
        | {"tau": [2, 4, 8, 16, 32], "length": 128, "chunks": 2000, "seeds": 10},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("Cutting where it costs least has less variance than cutting anywhere.", OURS, best_gates_are_better),
        Claim("A running estimate finds such places, on batches that it has not seen.", OURS, estimate_is_good),
        Claim("ARTBP lies between equal gates and the best independent ones.", OURS, artbp_is_between),
    ),
)
