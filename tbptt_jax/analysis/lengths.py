"""The law of segments' lengths under which truncation that is reweighted has the least variance, at a given memory.

Let cuts depend on a segment's age alone, and let S(d) be the probability that a segment is longer than d. In a segment
that starts at i, the credit of loss t through step s has the weight S(s − i) / S(t − i). So the estimate is linear in
the contributions g_ts = e_tᵀ J_t ⋯ J_{s+1} F_s, and E‖estimate‖² is quadratic in them: of a batch it needs only the
products of all pairs (t, s), summed over sequences, of which a root `[T, T, R]` is kept. One walk over the steps then
gives E‖estimate‖² for any law, and its slopes.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from tbptt_jax.analysis.moments import sequence_by_sequence
from tbptt_jax.analysis.precision import exactly
from tbptt_jax.analysis.stretch import averaged_of_walk, longest_of_walk
from tbptt_jax.errors import UserError
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets

MEMORIES = {"averaged": averaged_of_walk, "longest": longest_of_walk}
LARGEST = 9.0  # of a log odds ratio: probabilities are between 0.0001 and 0.9999
TURNS, CLOSE = 200, 1e-5
LEFT_OUT = 1e-3  # of the sum of squares, for the search
LONGEST = 128  # steps: 8,256 pairs of a loss and a step, and half a gigabyte for the products of two


class Contributions(NamedTuple):
    """Of each loss through each step: what is left of a batch for the variance of a renewal law."""

    root: Float[Array, "T T R"]
    squares: Float[Array, ""]
    """Σ over sequences of ‖full gradient‖², of what passes through states: what E‖estimate‖² is without cuts."""

    def variance(self, cut: Float[Array, " ages"]) -> Float[Array, ""]:
        """Of an estimate that is cut by this law, sequences apart; `cut` is by age."""
        return second_moment(cut, self.root) - self.squares


@exactly
@takes_resets
def contributions(model: Model, params: Params, batch: Batch, left_out: float = 0.0) -> Contributions:
    """The contributions of a batch; its root may lack the part `left_out` of their sum of squares. It takes memory for
    T⁴ / 4 numbers, and for T² P."""
    length, _ = sequence_shape(batch)
    if length > LONGEST:
        raise UserError(f"batch: at most {LONGEST} steps are needed, since memory grows with T⁴, got {length}")
    products, squares = products_of_pairs(model, params, batch)
    values, vectors = np.linalg.eigh(np.asarray(products))
    values = np.maximum(values[::-1], 0)
    count = len(values) - int(np.searchsorted(np.cumsum(values[::-1]), left_out * values.sum(), side="right"))
    root = np.zeros((length, length, max(count, 1)), products.dtype)
    root[np.tril_indices(length)] = vectors[:, ::-1][:, : max(count, 1)] * np.sqrt(values[: max(count, 1)])
    return Contributions(jnp.asarray(root), squares)


@partial(jax.jit, static_argnames="model")
def products_of_pairs(model: Model, params: Params, batch: Batch) -> tuple[Float[Array, "N N"], Float[Array, ""]]:
    """Σ over sequences of ⟨g_ts, g_t's'⟩, for the N = T (T + 1) / 2 pairs with s ≤ t, and of ‖Σ g_ts‖²."""
    length, _ = sequence_shape(batch)
    loss, step = np.tril_indices(length)

    def by_loss_and_step(jacobians, own_credit, _):
        jacobian, direct = lax.map(jacobians, jnp.arange(length))

        def back(t):
            def through(credit, s):
                credit = jnp.where(s == t, own_credit[t], credit)
                return jacobian[s].T @ credit, jnp.where(s <= t, credit @ direct[s], 0)

            return lax.scan(through, jnp.zeros_like(own_credit[t]), jnp.arange(length), reverse=True)[1]

        return jax.vmap(back)(jnp.arange(length))[loss, step]

    one, parts = sequence_by_sequence(by_loss_and_step, model, params, batch, shared=False)

    def add(sums, part):
        products, squares = sums
        rows = one(part)
        return (products + rows @ rows.T, squares + jnp.sum(jnp.sum(rows, axis=0) ** 2)), None

    dtype = jax.eval_shape(one, jax.tree.map(lambda leaf: leaf[0], parts)).dtype
    return lax.scan(add, (jnp.zeros((len(loss),) * 2, dtype), jnp.zeros((), dtype)), parts)[0]


@jax.jit
def second_moment(cut: Float[Array, " ages"], root: Float[Array, "T T R"]) -> Float[Array, ""]:
    """E‖estimate‖² for contributions whose products `root` has."""
    length, _, rank = root.shape
    longer = jnp.concatenate([jnp.ones(1), jnp.cumprod(1 - cut)])  # than d = 0..T−1 steps
    age = jnp.arange(length) - jnp.arange(length)[:, None]  # [start, step]
    alive = jnp.where(age >= 0, longer[jnp.maximum(age, 0)], 0.0)
    by_loss = jnp.einsum("is,tsr->itr", alive, root) / jnp.where(age >= 0, alive, 1.0)[:, :, None]
    pieces = jnp.cumsum(jnp.where((age >= 0)[:, :, None], by_loss, 0.0), axis=1)  # [start, last step, R]
    ends = jnp.where(age >= 0, alive * jnp.append(cut, 1.0)[jnp.maximum(age, 0)], 0.0).at[:, -1].set(alive[:, -1])
    squares = jnp.sum(pieces**2, axis=2)

    def start_at(moments, i):
        probability, mean, second = moments  # of each step as a start: P, E[g; start], E[‖g‖²; start], g so far
        leaves = ends[i]
        mine, before = probability[i], mean[i]
        return (
            probability.at[1:].add(leaves * mine),
            mean.at[1:].add(leaves[:, None] * (before + mine * pieces[i])),
            second.at[1:].add(leaves * (second[i] + 2 * pieces[i] @ before + mine * squares[i])),
        ), None

    first = jnp.zeros(length + 1).at[0].set(1.0), jnp.zeros((length + 1, rank)), jnp.zeros(length + 1)
    return lax.scan(start_at, first, jnp.arange(length))[0][2][length]


def optimal_cuts(
    model: Model, params: Params, batch: Batch, states: int | float, memory: str = "averaged"
) -> tuple[float, ...]:
    """The chances of a cut by age whose variance on a batch is least, for a given memory: `by_age(cuts)` takes them.

    Args:
        model: The model.
        params: Its parameters.
        batch: Sequences of at most 128 steps.
        states: How many states are alive on average.
        memory: "averaged" over the steps, as `averaged_stretch` counts, or "longest", where most are alive, as
            `longest_stretch` does.

    Returns:
        T − 1 probabilities. The search is local, from equal ones on.
    """
    length, _ = sequence_shape(batch)
    if memory not in MEMORIES:
        raise UserError(f"memory: one of {', '.join(MEMORIES)} is needed, got {memory!r}")
    if not 1 < states < length:
        raise UserError(f"states: a number above 1 and below the length {length} is needed, got {states!r}")
    found = contributions(model, params, batch, left_out=LEFT_OUT)
    return least_variance(found, states, memory)


def least_variance(found: Contributions, states: int | float, memory: str) -> tuple[float, ...]:
    """The search of `optimal_cuts`, over the logarithms of the odds of cuts."""
    from scipy.optimize import minimize  # slow to import

    length = len(found.root)

    with jax.enable_x64(True):
        root, squares = (jnp.asarray(np.asarray(part, float)) for part in found)

        @jax.jit
        @jax.value_and_grad
        def variance(odds):
            return jnp.log(second_moment(jax.nn.sigmoid(odds), root) - squares)

        @jax.jit
        @jax.value_and_grad
        def kept(odds):
            cut = jnp.append(jax.nn.sigmoid(odds), 0.0)
            return jnp.log(MEMORIES[memory](jnp.broadcast_to(cut, (length, length))) / states)

        result = minimize(
            lambda odds: [np.asarray(part, float) for part in variance(odds)],
            at_memory(kept, np.zeros(length - 1)),
            jac=True,
            method="SLSQP",
            bounds=[(-LARGEST, LARGEST)] * (length - 1),
            constraints={"type": "eq", "fun": lambda x: float(kept(x)[0]), "jac": lambda x: np.asarray(kept(x)[1])},
            options={"maxiter": TURNS, "ftol": CLOSE},
        )
        odds = at_memory(kept, result.x)
    return tuple((1 / (1 + np.exp(-odds))).tolist())


def at_memory(kept: Any, odds: np.ndarray) -> np.ndarray:
    """The odds, changed by one factor within the bounds, with which as many states are kept as should be."""

    def changed(by: float) -> np.ndarray:
        return np.clip(odds + by, -LARGEST, LARGEST)

    low, high = -2 * LARGEST, 2 * LARGEST
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(changed(middle))[0] > 0 else (low, middle)
    return changed(low)
