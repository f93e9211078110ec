"""What one cell measures."""

import jax
import numpy as np
from jaxtyping import Array

from tbptt_jax.analysis.reach import reach
from tbptt_jax.lab.config import Config

WORDS = "the time machine by h g wells"  # the chapter's example: a title, not the data


def measure(config: Config, key: Array):
    est, length = config.estimator, len(WORDS)
    drawn = jax.jit(jax.vmap(lambda key: reach(est, length, key)))(jax.random.split(key, config["samples"]))
    drawn = np.asarray(drawn, np.float64)
    mean, error = drawn.mean(0), drawn.std(0, ddof=1) / len(drawn) ** 0.5
    lower = np.tril(np.ones((length, length), bool))
    often = lower & ((drawn > 0).sum(0) >= 200)  # what is hardly ever seen says nothing of its mean
    away = np.abs(mean - 1)[often]
    z = np.max(
        np.where(error[often] > 0, away / np.where(error[often] > 0, error[often], 1), np.where(away > 1e-6, np.inf, 0))
    )
    lags = (drawn[0] > 0).sum(1) - 1
    row = {
        "weights": drawn[0],
        "mean_reach": float((drawn > 0).sum(2).mean() - 1),
        "pairs": int(lower.sum()),
        "weights_not_0": int((drawn[0] != 0).sum()),
        "weights_of_1": int((drawn[0] == 1).sum()),
    }
    return [row | {"furthest_reach": int(lags.max()), "z": float(min(z, 1e9)), "credits": int(often.sum())}]
