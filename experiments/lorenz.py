"""Truncation in a program that is no network: fit a parameter of the Lorenz system through 2,000 chaotic steps.

The mean height of the trajectories responds smoothly to the parameter rho: its slope, by a finite difference over
trajectories, is near 1. The exact gradient of that mean over 2,000 steps is something else, since nearby trajectories
part exponentially. Cutting the backward pass into segments keeps the near response and drops the explosion.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.plots.lorenz import draw

TRAJECTORIES, TRUE_RHO, FIRST_RHO, LEARNING_RATE, UPDATES = 16, 28.0, 24.0, 0.5, 60
LEFT = 100.0  # a fit that is further from the truth than this has left for good


def lorenz(state, rho, dt=0.01):
    """One Runge-Kutta step of x' = 10 (y − x), y' = x (rho − z) − y, z' = x y − 8/3 z."""

    def slope(state):
        x, y, z = state
        return jnp.array([10 * (y - x), x * (rho - z) - y, x * y - 8 / 3 * z])

    a = slope(state)
    b = slope(state + dt / 2 * a)
    c = slope(state + dt / 2 * b)
    d = slope(state + dt * c)
    return state + dt / 6 * (a + 2 * b + 2 * c + d)


def mean_height(rho, starts, truncation=None, *, steps):
    """The mean of z over all steps of all trajectories."""

    def step(state, _):
        state = lorenz(state, rho)
        return state, state[2]

    def heights(start):
        return tb.scan(step, start, None, length=steps, truncation=truncation)[1]

    return jnp.mean(jax.vmap(heights)(starts))


@cache
def setting(steps, seed):
    """Starts on the attractor, the mean height that is observed, and its response to rho by a finite difference."""
    starts = 5 * jax.random.normal(jax.random.key(seed), (TRAJECTORIES, 3)) + jnp.array([0.0, 0.0, 25.0])
    settle = partial(jax.lax.fori_loop, 0, 1000, lambda _, state: lorenz(state, TRUE_RHO))
    starts = jax.jit(jax.vmap(settle))(starts)
    height = jax.jit(partial(mean_height, steps=steps))
    response = (height(TRUE_RHO + 3, starts) - height(TRUE_RHO - 3, starts)) / 6
    return starts, height(TRUE_RHO, starts), response


@partial(jax.jit, static_argnames="steps")
def gradient_and_fit(truncation, starts, observed, steps):
    """The gradient at the true rho, and rho over the updates of gradient descent on ½ (mean height − observed)²."""
    slope_at = jax.value_and_grad(partial(mean_height, steps=steps))

    def update(rho, _):
        height, slope = slope_at(rho, starts, truncation)
        rho = rho - LEARNING_RATE * (height - observed) * slope
        return rho, rho

    return slope_at(TRUE_RHO, starts, truncation)[1], jax.lax.scan(update, FIRST_RHO, None, length=UPDATES)[1]


def measure(config, key):
    steps = config["steps"]
    starts, observed, response = setting(steps, config.get("seed", 0))
    gradient, path = map(np.asarray, gradient_and_fit(tb.Segment(config["tau"]), starts, observed, steps))
    path = np.concatenate([[FIRST_RHO], path])
    gone = ~(np.abs(path - TRUE_RHO) < LEFT)  # NaN too
    left_at = int(gone.argmax()) if gone.any() else -1
    path = np.where(np.maximum.accumulate(gone), np.nan_to_num(path[left_at - 1]) if left_at > 0 else FIRST_RHO, path)
    row = {"gradient": float(gradient), "response": float(response), "fitted": float(path[-1])}
    return [row | {"left_at": left_at, "path": path}]


def exact_gradient_explodes(table):
    rows = table.sort("tau")
    ratio = abs(rows["gradient"][-1] / rows["response"][-1])
    figure = f"over {rows['tau'][-1]} steps the gradient is {ratio:.2g} times the response by finite differences"
    return Verdict("reproduced" if ratio > 100 else "not reproduced", figure)


def truncation_works(table):
    good = table.filter((pl.col("gradient") / pl.col("response")).is_between(0.5, 2))
    fitted = table.filter((pl.col("left_at") < 0) & ((pl.col("fitted") - TRUE_RHO).abs() < 0.5))
    near, fits = (", ".join(map(str, rows["tau"].sort())) or "none" for rows in (good, fitted))
    figure = f"gradients within a factor 2 of the response at τ = {near}; rho within 0.5 of 28 at τ = {fits}"
    both = set(good["tau"]) & set(fitted["tau"])
    return Verdict("reproduced" if both else "not reproduced", figure)


TAUS = [5, 10, 25, 50, 100, 200, 500]
experiment = Experiment(
    name="lorenz",
    source="a question that users of differentiable simulators ask",
    summary="truncation in a chaotic system that is no network: the gradient that works is the truncated one",
    axes={
        "smoke": {"tau": [10, 50, 100, 500], "steps": 500},
        "default": {"tau": [*TAUS, 1000, 2000], "steps": 2000},
        "paper": {"tau": [*TAUS, 1000, 2000, 5000], "steps": 5000},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim("The exact gradient of a long chaotic simulation explodes.", "folklore", exact_gradient_explodes),
        Claim("Segments of some length give a gradient that fits the parameter.", "folklore", truncation_works),
    ),
)
