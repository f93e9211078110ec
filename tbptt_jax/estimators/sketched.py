"""SnAp-1 with a low-rank sketch of what it leaves out."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from tbptt_jax.decompositions import eigh, svd
from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.gradients.influence.dynamics import Dynamics


class Sketch(NamedTuple):
    """M ≈ sparse + left right, and a bound on ‖M − that‖ (Frobenius), from the norms of what was thrown away."""

    sparse: Float[Array, "H P"]
    left: Float[Array, "H R"]
    right: Float[Array, "R P"]
    error: Float[Array, ""]


@dataclass(frozen=True)
class Sketched(InfluenceEstimator):
    """SnAp-1, beside the best approximation of rank r of all that it leaves out of the influence.

    Where a parameter acts on a unit directly, the influence is carried as SnAp-1 does. The rest is L Rᵀ, made at each
    step of the r largest singular values of J L Rᵀ and of what J takes out of the direct places. Nothing is lost from
    r = H on. What is lost is known: `error` bounds the distance to the true influence, error ← ‖J‖ error + ‖what was
    thrown away‖, and so Σ_t ‖e_t‖ error_t bounds the bias. P + r (H + P) numbers would do between steps; here the
    sparse part is held as a matrix, and a step takes as long as one of RTRL.
    """

    rank: int = field(default=4, metadata={"static": True})
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "SnAp (Menick et al. 2021) with a low-rank sketch of the rest, 2026"

    def __post_init__(self):
        self.require_whole("rank", 1)

    def start(self, dynamics: Dynamics):
        dtype, rank = dynamics.params.dtype, min(self.rank, dynamics.hidden)
        shapes = (dynamics.hidden, dynamics.weights), (dynamics.hidden, rank), (rank, dynamics.weights), ()
        return Sketch(*(jnp.zeros(shape, dtype) for shape in shapes))

    def advance(self, dynamics: Dynamics, step: Any, influence: Sketch, noise: Any):
        jacobian, direct_places = step.jacobian(), jnp.asarray(dynamics.patterns[1])
        carried = jacobian @ influence.sparse
        rest = jnp.where(direct_places, 0, carried) + (jacobian @ influence.left) @ influence.right
        # singular vectors on the side of the units, from the H × H matrix of products
        squares, vectors = eigh(rest @ rest.T)
        rank = influence.left.shape[1]
        left = vectors[:, -rank:]
        lost = jnp.sqrt(jnp.maximum(jnp.sum(squares[: len(squares) - rank]), 0))
        error = svd(jacobian)[1][0] * influence.error + lost
        return Sketch(step.direct() + jnp.where(direct_places, carried, 0), left, left.T @ rest, error)

    def credit(self, dynamics: Dynamics, influence: Sketch, e: Array):
        return e @ influence.sparse + (e @ influence.left) @ influence.right
