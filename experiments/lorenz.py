"""Truncation in a program that is no network: fit a parameter of the Lorenz system through 2,000 chaotic steps.

The mean height of the trajectories responds smoothly to the parameter rho: its slope, by a finite difference over
trajectories, is near 1. The exact gradient of that mean over 2,000 steps is something else, since nearby trajectories
part exponentially. Cutting the backward pass into segments keeps the near response and drops the explosion.

    python experiments/lorenz.py        prints the table, and writes results/lorenz/lorenz.svg and .png
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import tbptt_jax as tb

STEPS, TRAJECTORIES, TRUE_RHO, FIRST_RHO = 2000, 16, 28.0, 24.0
TAUS = (5, 10, 25, 50, 100, 200, 500, 1000, 2000)
LEARNING_RATE, UPDATES = 0.5, 60


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


def mean_height(rho, starts, truncation=None):
    """The mean of z over all steps of all trajectories."""

    def step(state, _):
        state = lorenz(state, rho)
        return state, state[2]

    def heights(start):
        return tb.scan(step, start, None, length=STEPS, truncation=truncation)[1]

    return jnp.mean(jax.vmap(heights)(starts))


def on_the_attractor(key):
    starts = 5 * jax.random.normal(key, (TRAJECTORIES, 3)) + jnp.array([0.0, 0.0, 25.0])
    return jax.vmap(lambda start: jax.lax.fori_loop(0, 1000, lambda _, s: lorenz(s, TRUE_RHO), start))(starts)


@jax.jit
def fit(truncation, starts, observed):
    """rho over the updates of plain gradient descent on ½ (mean height − observed)²; a truncation's tau is traced."""

    def update(rho, _):
        height, slope = jax.value_and_grad(mean_height)(rho, starts, truncation)
        rho = rho - LEARNING_RATE * (height - observed) * slope
        return rho, rho

    return jax.lax.scan(update, FIRST_RHO, None, length=UPDATES)[1]


def main(folder=Path("results/lorenz")):
    starts = on_the_attractor(jax.random.key(0))
    observed = mean_height(TRUE_RHO, starts)
    response = float(mean_height(TRUE_RHO + 3, starts) - mean_height(TRUE_RHO - 3, starts)) / 6
    gradient = jax.jit(jax.grad(mean_height))
    exact = float(jax.grad(mean_height)(TRUE_RHO, starts))
    print(f"response of the mean height to rho, by a finite difference: {response:.2f}")
    print(f"exact gradient over {STEPS} steps: {exact:.3g}")
    print(f"   tau   gradient at rho = {TRUE_RHO:g}   rho after {UPDATES} updates from {FIRST_RHO:g}")
    slopes, fits = [], {}
    for tau in TAUS:
        slopes.append(float(gradient(TRUE_RHO, starts, tb.Segment(tau))))
        fits[tau] = fit(tb.Segment(tau), starts, observed)
        print(f"{tau:6}   {slopes[-1]:22.3g}   {float(fits[tau][-1]):.3g}")
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(slopes, fits, response)
    for ending in ("svg", "png"):
        figure.savefig(folder / f"lorenz.{ending}", dpi=150, metadata={"Date": None} if ending == "svg" else None)
    print(f"figure: {folder / 'lorenz.png'}")


def draw(slopes, fits, response):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.axhline(response, color="0.5", linestyle="--")
    left.text(TAUS[0], response * 1.5, f"finite difference: {response:.2f}", color="0.35")
    left.plot(TAUS, [abs(slope) for slope in slopes], "o-", color="#0072B2")
    left.set(xscale="log", yscale="log", xlabel="segment length τ (steps)", ylabel="|gradient of mean height by ρ|")
    left.set_title(f"Lorenz system, {STEPS:,} steps", loc="left")
    shades = plt.get_cmap("viridis")
    shown = [10, 50, 100, 200, 500, 2000]
    for i, tau in enumerate(shown):
        path = jnp.concatenate([jnp.array([FIRST_RHO]), fits[tau]])
        right.plot(jnp.clip(path, 20, 32), color=shades(i / len(shown)), label=f"τ = {tau}")
    right.axhline(TRUE_RHO, color="0.5", linestyle="--")
    right.set(xlabel="update", ylabel="ρ (drawn within 20..32)", ylim=(19.8, 32.2))
    right.set_title("gradient descent on ρ; the truth is 28", loc="left")
    right.legend(ncols=2, frameon=False, fontsize="small")
    return figure


if __name__ == "__main__":
    main()
