"""What one cell measures."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

import tbptt_jax as tb
from tbptt_jax.lab.config import Config

TRAJECTORIES, TRUE_RHO, FIRST_RHO, LEARNING_RATE, UPDATES = 16, 28.0, 24.0, 0.5, 60
LEFT = 100.0  # a fit that is further from the truth than this has left for good


def lorenz(state: PyTree, rho: Any, dt: float = 0.01):
    """One Runge-Kutta step of x' = 10 (y − x), y' = x (rho − z) − y, z' = x y − 8/3 z."""

    def slope(state):
        x, y, z = state
        return jnp.array([10 * (y - x), x * (rho - z) - y, x * y - 8 / 3 * z])

    a = slope(state)
    b = slope(state + dt / 2 * a)
    c = slope(state + dt / 2 * b)
    d = slope(state + dt * c)
    return state + dt / 6 * (a + 2 * b + 2 * c + d)


def mean_height(rho: Any, starts: Any, truncation: Any = None, *, steps: Any):
    """The mean of z over all steps of all trajectories."""

    def step(state, _):
        state = lorenz(state, rho)
        return state, state[2]

    def heights(start):
        return tb.scan(step, start, None, length=steps, truncation=truncation)[1]

    return jnp.mean(jax.vmap(heights)(starts))


@cache
def setting(steps: Any, seed: int):
    """Starts on the attractor, the mean height that is observed, and its response to rho by a finite difference."""
    starts = 5 * jax.random.normal(jax.random.key(seed), (TRAJECTORIES, 3)) + jnp.array([0.0, 0.0, 25.0])
    settle = partial(jax.lax.fori_loop, 0, 1000, lambda _, state: lorenz(state, TRUE_RHO))
    starts = jax.jit(jax.vmap(settle))(starts)
    height = jax.jit(partial(mean_height, steps=steps))
    response = (height(TRUE_RHO + 3, starts) - height(TRUE_RHO - 3, starts)) / 6
    return starts, height(TRUE_RHO, starts), response


@partial(jax.jit, static_argnames="steps")
def gradient_and_fit(truncation: Any, starts: Any, observed: Any, steps: Any):
    """The gradient at the true rho, and rho over the updates of gradient descent on ½ (mean height − observed)²."""
    slope_at = jax.value_and_grad(partial(mean_height, steps=steps))

    def update(rho, _):
        height, slope = slope_at(rho, starts, truncation)
        rho = rho - LEARNING_RATE * (height - observed) * slope
        return rho, rho

    return slope_at(TRUE_RHO, starts, truncation)[1], jax.lax.scan(update, FIRST_RHO, None, length=UPDATES)[1]


def measure(config: Config, key: Array):
    return [{"replica": i} | one_fit(config["tau"], config["steps"], config.seed + i) for i in range(config["seeds"])]


def one_fit(tau: int, steps: int, seed: int) -> dict[str, Any]:
    starts, observed, response = setting(steps, seed)
    gradient, path = map(np.asarray, gradient_and_fit(tb.Segment(tau), starts, observed, steps))
    path = np.concatenate([[FIRST_RHO], path])
    gone = ~(np.abs(path - TRUE_RHO) < LEFT)  # NaN too
    left_at = int(gone.argmax()) if gone.any() else -1
    path = np.where(np.maximum.accumulate(gone), np.nan_to_num(path[left_at - 1]) if left_at > 0 else FIRST_RHO, path)
    ratio = abs(float(gradient) / float(response))
    return {
        "gradient": float(gradient),
        "response": float(response),
        "ratio": min(ratio, 1e30) if np.isfinite(ratio) else 1e30,
        "fitted": float(path[-1]),
        "miss": min(abs(float(path[-1]) - TRUE_RHO), LEFT),
        "left_at": left_at,
        "path": path,
    }
