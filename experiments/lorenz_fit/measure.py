"""What one cell measures."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import tbptt_jax as tb
from tbptt_jax.forward import chunk_loss
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.online import learn_online, number_of_chunks

TRUTH = {"log_a": float(np.log(10.0)), "log_r": float(np.log(28.0))}
GUESS = {"log_a": 3.116, "log_r": 3.7}
START = (1.2, 1.3, 1.6)
EVALUATIONS = 20


class Plan(NamedTuple):
    """How often the paper updates, at which rate; by what the rate is multiplied from update 1,000 on; and whether the
    method is given whole simulations, on one worker."""

    updates: int
    rate: float
    then: float = 1.0
    whole: bool = False


PLANS = {
    "full": Plan(1000, 1e-8, whole=True),
    "segment": Plan(10_000, 3e-4),
    "uoro": Plan(5000, 1e-13),
    "dodge": Plan(5000, 1e-10),
    "es": Plan(2000, 3e-5, whole=True),
    "truncated_es": Plan(5000, 3e-4),
    "pes": Plan(10_000, 1e-5, 0.1),
    "nres": Plan(5000, 1e-5),
}
OTHERS = Plan(5000, 1e-5)


@dataclass(frozen=True)
class Lorenz(tb.Model):
    """x' = a (y − x), y' = x (r − z) − y, z' = x y − 8/3 z, in steps of Euler; what is seen is z."""

    dt: float = 0.005

    def init(self, key: Array):
        return {name: jnp.asarray(value) for name, value in GUESS.items()}

    def initial_state(self, params: Any, batch_size: int):
        return jnp.tile(jnp.asarray(START), (batch_size, 1))

    def step(self, params: Any, state: PyTree, x: PyTree):
        a, r = jnp.exp(params["log_a"]), jnp.exp(params["log_r"])
        x, y, z = state.T
        return state + self.dt * jnp.stack([a * (y - x), x * (r - z) - y, x * y - 8 / 3 * z], axis=1)

    def readout(self, params: Any, state: PyTree):
        return state[:, 2]

    def losses(self, output: PyTree, target: PyTree):
        return (output - target) ** 2


MODEL = Lorenz()


def heights(starts: Array, steps: int) -> Array:
    """z of the true system, `[T, B]`."""
    truth = jax.tree.map(jnp.asarray, TRUTH)

    def step(state, _):
        state = MODEL.step(truth, state, None)
        return state, state[:, 2]

    return jax.lax.scan(step, starts, None, length=steps)[1]


def as_batch(targets: Array) -> tb.Batch:
    return tb.Batch(jnp.zeros((*targets.shape, 0)), targets)


def measure(config: Config, key: Array):
    est, method = config.estimator, config.chosen[0].method
    plan, steps = PLANS.get(method, OTHERS), config["steps"]
    unroll, workers = (steps, 1) if plan.whole else (config["unroll"], config["workers"])
    targets = heights(MODEL.initial_state(GUESS, 1), steps).reshape(number_of_chunks(steps, unroll), unroll, 1)
    starts = jnp.asarray(START) + jax.random.normal(jax.random.key(2**31 - 1), (config["starts"], 3))
    unseen = as_batch(heights(starts, steps))
    learned = learn_online(
        MODEL,
        est,
        as_batch(targets),
        optax.sgd(optax.piecewise_constant_schedule(plan.rate, {1000: plan.then})),
        workers=workers,
        updates=EVALUATIONS * max(1, round(plan.updates * config["part"] / EVALUATIONS)),
        evaluations=EVALUATIONS,
        watch=lambda params: chunk_loss(MODEL, params, starts, unseen)[0],
        seeds=jax.random.split(key, config["seeds"]),
    )
    rows = []
    for i in range(config["seeds"]):
        losses, params = bounded(learned.watched[i]), {name: learned.params[name][i] for name in TRUTH}
        rows.append(
            {
                "run": i,
                "test_loss": float(losses[-1]),
                "first_loss": float(losses[0]),
                "miss": float(np.hypot(*(params[name][-1] - TRUTH[name] for name in TRUTH))),
                "curve_updates": learned.updates,
                "curve_steps": learned.updates * unroll * workers * est.runs,
                "curve_loss": losses,
            }
            | {f"curve_{name}": values for name, values in params.items()}
        )
    return rows


MOST = 1e6


def bounded(losses: np.ndarray) -> np.ndarray:
    """Losses, of which those that have left all bounds count as a very large one."""
    return np.minimum(np.nan_to_num(losses, nan=MOST, posinf=MOST), MOST)
