"""What one cell measures."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import tbptt_jax as tb
from tbptt_jax.analysis.horizon import credit_norms, decay_rate, linear_credit_norms
from tbptt_jax.cells import spectral_radius
from tbptt_jax.lab.config import Config
from tbptt_jax.lab.protocol import after_updates, clipped_adam
from tbptt_jax.models import Batch

DISTANCE = 24
TASK = tb.Recall(distance=DISTANCE)  # its only loss hangs on what stands 24 steps back
FIRST = 2  # the lag from which on the decay is fitted


def draw(key: Array) -> Batch:
    return TASK.chunk(TASK.start(key))[0]


def relative_to_first(norms: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """The credit of each loss over its own at lag 0. A loss without any, that of a softmax which is sure and right,
    counts as the mean of the others."""
    first, there = norms[:, :1], jnp.tril(jnp.ones(norms.shape))
    heard = there * (first > 0)
    relative = jnp.where(heard > 0, norms / jnp.where(first > 0, first, 1), 0)
    mean = jnp.sum(relative, axis=0) / jnp.maximum(jnp.sum(heard, axis=0), 1)
    return there * jnp.where(first > 0, relative, mean)


def measure(config: Config, key: Array):
    cell, hidden = config["cell"], config["hidden"]
    model = TASK.model(cell, hidden)
    drawn = TASK.model(cell, hidden, radius=config["radius"], orthogonal=config["orthogonal"])

    @jax.jit
    @jax.vmap
    def observed(key):
        params = after_updates(model, drawn.init(key), draw, key, config["training"], clipped_adam(3e-3))
        batch = draw(jax.random.fold_in(key, 1))
        norms = credit_norms(model, params, batch)
        predicted = linear_credit_norms(model, params, batch) if cell == "linear" else norms
        recurrent = params["cell"]["W_hh"].reshape(-1, hidden, hidden)
        radius = jnp.max(jax.vmap(spectral_radius)(recurrent))
        relative = relative_to_first(norms)
        last = relative[-1, -1] ** (1 / DISTANCE)
        mean = jnp.sum(relative, axis=0) / jnp.arange(len(relative), 0, -1)
        return norms, predicted, radius, mean, decay_rate(relative, FIRST), last, tb.loss(model, params, batch)

    keys = jax.random.split(key, config["seeds"])
    norms, predicted, radius, mean, rate, last, loss = map(np.asarray, observed(keys))
    away = np.abs(norms - predicted).max((1, 2)) / norms.max((1, 2))
    return [
        {
            "replica": i,
            "radius_now": float(radius[i]),
            "decay": float(rate[i]),
            "carried": float(last[i]),
            "loss": float(loss[i]),
            "away_from_eigenvalues": float(away[i]),
            "curve_norm": mean[i],
        }
        | {"norms": norms[i] if i == 0 else None}
        for i in range(config["seeds"])
    ]
