"""How far a loss looks back: the norm of its credit at each lag, against the spectral radius of W_hh.

The credit of a loss at lag k is a product of k Jacobians. In a linear network these are all W_hh, and its norm follows
from the eigenvalues; in others the saturation of their units and their gates have a say. Before and after training on
the copy task.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.analysis.horizon import credit_norms, decay_rate, linear_credit_norms
from tbptt_jax.cells import spectral_radius
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.plots.vanishing_gradients import draw

TASK = tb.Copy(length=64, batch_size=16, longest=5)
FIRST, LAST = 8, 40  # the lags over which the decay is fitted


def trained(model, drawn, updates, key):
    """Parameters drawn by one model, and after so many updates of the other, which is the same but for its radius."""
    params = drawn.init(key)
    if not updates:
        return params
    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))

    def update(carry, key):
        params, state = carry
        grads = tb.gradient(tb.Full(), model, params, TASK.chunk(TASK.start(key))[0])
        changes, state = adam.update(grads, state)
        return (optax.apply_updates(params, changes), state), None

    return jax.lax.scan(update, (params, adam.init(params)), jax.random.split(key, updates))[0][0]


def measure(config, key):
    cell, hidden = config["cell"], config["hidden"]
    model = TASK.model(cell, hidden)
    drawn = TASK.model(cell, hidden, radius=config["radius"], orthogonal=config["orthogonal"])

    @jax.jit
    @jax.vmap
    def observed(key):
        params = trained(model, drawn, config["training"], key)
        batch = TASK.chunk(TASK.start(jax.random.fold_in(key, 1)))[0]
        norms = credit_norms(model, params, batch)
        predicted = linear_credit_norms(model, params, batch) if cell == "linear" else norms
        recurrent = params["cell"]["W_hh"].reshape(-1, hidden, hidden)
        radius = jnp.max(jax.vmap(spectral_radius)(recurrent))
        return norms, predicted, radius, decay_rate(norms / norms[:, :1], FIRST, LAST), tb.loss(model, params, batch)

    norms, predicted, radius, rate, loss = map(np.asarray, observed(jax.random.split(key, config["seeds"])))
    lags = np.arange(norms.shape[1])
    mean = (norms / norms[:, :, :1]).sum(1) / (norms.shape[1] - lags)
    away = np.abs(norms - predicted).max((1, 2)) / norms.max((1, 2))
    return [
        {
            "replica": i,
            "radius_now": float(radius[i]),
            "decay": float(rate[i]),
            "loss": float(loss[i]),
            "away_from_eigenvalues": float(away[i]),
            "curve_norm": mean[i],
        }
        | ({"norms": norms[i]} if i == 0 else {})
        for i in range(config["seeds"])
    ]


def the_cell(table, cell, training=None):
    rows = table.filter(pl.col("cell") == cell)
    rows = rows if training is None else rows.filter((pl.col("training") > 0) == training)
    if rows.is_empty():
        raise ValueError(f"{cell} was not measured")
    return rows


def linear_follows_eigenvalues(table):
    rows = the_cell(table, "linear")
    away = rows["away_from_eigenvalues"].max()
    orthogonal = rows.filter(pl.col("orthogonal") & (pl.col("training") == 0))
    apart = (orthogonal["decay"] - orthogonal["radius"]).abs().max()
    figure = (
        f"largest difference of all credits to the eigenvalues' {away:.1e} of the largest credit; with an orthogonal "
        f"matrix the decay is the radius within {apart:.1e}"
    )
    return Verdict("reproduced" if away < 1e-3 and apart < 1e-3 else "not reproduced", figure)


def small_radius_vanishes(table):
    rows = the_cell(table, "tanh", training=False).filter(pl.col("radius") < 1)
    worst = (rows["decay"] / rows["radius"]).max()
    figure = f"largest decay over spectral radius below 1, at initialisation: {worst:.3f} in {rows.height} networks"
    return Verdict("reproduced" if rows["decay"].max() < 1 else "not reproduced", figure)


def large_radius_explodes(table):
    rows = table.filter((pl.col("training") == 0) & (pl.col("radius") > 1))
    means = rows.group_by(["cell", "radius"]).agg(pl.col("decay").mean()).sort(["cell", "radius"])
    said = ", ".join(f"{cell} {radius:g}: {rate:.2f}" for cell, radius, rate in means.iter_rows())
    linear = means.filter(pl.col("cell") == "linear")["decay"].min()
    tanh = means.filter(pl.col("cell") == "tanh")["decay"].min()
    return Verdict(
        "reproduced" if linear > 1 and tanh > 1 else "not reproduced", f"mean decay by cell and radius: {said}"
    )


def gates_carry_credit(table):
    ends = table.filter(pl.col("training").is_in([0, table["training"].max()]) & (pl.col("radius") == 1.0))
    means = ends.group_by(["cell", "training"]).agg(pl.col("decay").mean())
    found = {(cell, training > 0): rate for cell, training, rate in means.iter_rows()}
    said = ", ".join(
        f"{cell} {'trained' if after else 'at first'} {rate:.2f}" for (cell, after), rate in sorted(found.items())
    )
    better = all(found[cell, True] > found["tanh", True] for cell in ("gru", "lstm"))
    return Verdict("reproduced" if better else "not reproduced", f"mean decay a step at radius 1: {said}")


CHAPTER = "the textbook chapter and lecture on backpropagation through time"
CELLS = ["linear", "tanh", "gru", "lstm"]
experiment = Experiment(
    name="vanishing_gradients",
    source=CHAPTER,
    summary="the norm of credit at each lag against the spectral radius, before and after training",
    axes={
        "smoke": {
            "cell": ["linear", "tanh", "lstm"],
            "radius": [0.8, 1.0, 1.2],
            "orthogonal": [False, True],
            "training": 0,
            "hidden": 16,
            "seeds": 2,
        },
        "default": {
            "cell": CELLS,
            "radius": [0.5, 0.8, 1.0, 1.2, 1.5],
            "orthogonal": [False, True],
            "training": [0, 1000],
            "hidden": 32,
            "seeds": 4,
        },
        "paper": {
            "cell": CELLS,
            "radius": [0.3, 0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0],
            "orthogonal": [False, True],
            "training": [0, 1000, 10_000],
            "hidden": 128,
            "seeds": 10,
        },
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("In a linear network credit follows the eigenvalues of W_hh.", CHAPTER, linear_follows_eigenvalues),
        Claim(
            "Gradients of a tanh network vanish where the spectral radius is below 1.", CHAPTER, small_radius_vanishes
        ),
        Claim("Gradients explode where the spectral radius is above 1.", CHAPTER, large_radius_explodes),
        Claim("After training, gated cells carry credit further than tanh.", CHAPTER, gates_carry_credit),
    ),
)
