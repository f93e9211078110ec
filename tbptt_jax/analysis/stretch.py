"""The memory of a backward pass whose cuts are drawn: the stretches of states between two of them.

A stretch is what must be alive at once. Its mean length is not its longest: gates that cut every eighth step on average
keep some twenty states somewhere in a sequence of 64, and a step lies in a stretch of fifteen on average. A walk over
the steps says both: it carries how likely the stretch so far has lasted d steps, where a cut before step t has the
probability `cut[t, d − 1]`. P(no stretch is longer than m) is what is left of a walk that ends at m + 1, and the mean
longest stretch is Σ_{m ≥ 0} P(some stretch is longer than m); Σ_t E[2 d_t − 1] is the mean of Σ length².
"""

from collections.abc import Callable
from functools import singledispatch

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from tbptt_jax.errors import UserError, require_count
from tbptt_jax.estimators.base import Estimator, require_estimator
from tbptt_jax.estimators.laws import Fixed, Independent, Law, Patterns, Renewal


def longest_stretch(est: Estimator, length: int) -> float:
    """The memory of an estimator: the mean length of the longest stretch of a sequence that it does not cut.

    Args:
        est: The estimator; how it cuts must be known.
        length: How many steps the sequence has.

    Returns:
        The mean number of states. For a truncation that draws nothing, over how many states a loss looks back at most.
    """
    return of_law(est, length, "longest_stretch", longest_of_walk, np.max)


def averaged_stretch(est: Estimator, length: int) -> float:
    """The memory of an estimator: the mean length of the stretch that a step lies in, E[Σ length²] / T.

    Args:
        est: The estimator; how it cuts must be known.
        length: T, how many steps the sequence has.

    Returns:
        The mean number of states. For a truncation that draws nothing, over how many states a loss looks back at most.
    """
    return of_law(est, length, "averaged_stretch", averaged_of_walk, lambda parts: np.sum(parts**2) / length)


def of_law(est: Estimator, length: int, asked: str, of_walk: Callable, of_pattern: Callable) -> float:
    require_estimator(est)
    length = require_count("length", length)
    found = by_law(est.law(length), est, length, of_walk, of_pattern)
    if found is None:
        raise UserError(f"{asked}: an estimator is needed of which it is known how it cuts, got {est}")
    return found


@singledispatch
def by_law(law: Law | None, est: Estimator, length: int, of_walk: Callable, of_pattern: Callable) -> float | None:
    """The memory under a law; None where that does not determine the cuts."""
    cut = cut_by_step_and_age(law, length)
    if cut is None:
        return None
    with jax.enable_x64(True):
        return float(of_walk(cut))


@by_law.register
def _(law: Fixed, est: Estimator, length: int, of_walk: Callable, of_pattern: Callable) -> float | None:
    return float(min(est.longest_look_back or length, length))


@by_law.register
def _(law: Patterns, est: Estimator, length: int, of_walk: Callable, of_pattern: Callable) -> float | None:
    return float(np.asarray(law.probabilities) @ [of_pattern(stretches(row)) for row in np.asarray(law.gates)])


@singledispatch
def cut_by_step_and_age(law: Law | None, length: int) -> np.ndarray | None:
    """At [t, d − 1] of `[T, T]`, the probability of a cut before step t (from 0) where the stretch has lasted d steps;
    None where these do not determine the cuts, as when several are drawn together."""
    return None


@cut_by_step_and_age.register
def _(law: Renewal, length: int):
    return np.broadcast_to(np.asarray(law.cut, float)[:length], (length, length))


@cut_by_step_and_age.register
def _(law: Independent, length: int):
    mean, variance = np.asarray(law.mean, float), np.asarray(law.variance, float)
    keep = mean**2 / np.maximum(mean**2 + variance, np.finfo(float).tiny)  # of gates that are 0 or one other value
    return np.broadcast_to(1 - keep[:, None], (length, length))


def stretches(gates: np.ndarray) -> np.ndarray:
    """The lengths between gates of 0, the first of which stands before the sequence."""
    return np.diff(np.unique([0, *np.flatnonzero(gates == 0), len(gates)]))


@jax.jit
def longest_of_walk(cut: Float[Array, "T T"]) -> Float[Array, ""]:
    length = len(cut)

    def some_is_longer(most: Array) -> Array:
        last, _ = walk(cut, lambda at_age: at_age * (jnp.arange(length) < most))
        return 1 - jnp.sum(last)

    return 1 + jnp.sum(lax.map(some_is_longer, jnp.arange(1, length), batch_size=64))


@jax.jit
def averaged_of_walk(cut: Float[Array, "T T"]) -> Float[Array, ""]:
    _, ages = walk(cut, lambda at_age: at_age)
    return jnp.sum(ages @ (2 * jnp.arange(1, len(cut) + 1) - 1)) / len(cut)


def walk(cut: Float[Array, "T T"], left: Callable) -> tuple[Float[Array, " T"], Float[Array, "T T"]]:
    """How likely the stretch has lasted d steps at the last step, and at every one; `left` of it, each time."""

    def step(at_age, ends):
        leaves = at_age * ends
        at_age = left(jnp.concatenate([jnp.sum(leaves)[None], (at_age - leaves)[:-1]]))
        return at_age, at_age

    first = left(jnp.zeros(len(cut)).at[0].set(1.0))
    last, later = lax.scan(step, first, cut[1:])
    return last, jnp.concatenate([first[None], later])
