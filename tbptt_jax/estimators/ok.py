"""Optimal Kronecker-sum RTRL: the influence as a sum of r Kronecker products, cut back to r by the best random cut."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tbptt_jax.decompositions import qr, svd
from tbptt_jax.estimators.influence import InfluenceEstimator
from tbptt_jax.estimators.kf_rtrl import summed
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.gradients.influence.summed import as_parameters, units


@dataclass(frozen=True)
class OK(InfluenceEstimator):
    """Carry M ≈ Σ_{i≤r} u_i ⊗ A_i, whose number of products is kept at r with the least variance in each step.

    A step makes r + 1 products of the sum, Σ u_i ⊗ J A_i + â ⊗ D. They are replaced by r random products with the same
    mean and the least possible variance, which takes the singular values of an (r + 1) × (r + 1) matrix. It is for the
    same cells as `kf_rtrl`, which has more variance in each such step than this with r = 1.
    """

    rank: int = field(default=1, metadata={"static": True})
    name: ClassVar[str] = "ok"
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Benzing et al. 2019, Optimal Kronecker-sum approximation of RTRL"

    def __post_init__(self):
        self.require_whole("rank", 1)

    def start(self, dynamics: Dynamics):
        rank, inputs, sums = self.sizes(dynamics)
        dtype = dynamics.params.dtype
        return jnp.zeros((rank, inputs), dtype), jnp.zeros((rank, dynamics.hidden, sums), dtype)

    def sizes(self, dynamics: Dynamics) -> tuple[int, int, int]:
        """How many products there are, and the numbers of the inputs and of the sums; more products than either factor
        has numbers would be one and the same sum."""
        cell = summed(dynamics, self.name)
        sums, inputs = cell.blocks * cell.hidden, cell.inputs + cell.hidden + cell.bias
        return min(self.rank, inputs, dynamics.hidden * sums), inputs, sums

    def noise(self, key: Array | None, shape: tuple[int, ...], dynamics: Dynamics):
        return jax.random.rademacher(
            self.require_key(key), (*shape, self.sizes(dynamics)[0] + 1), dynamics.params.dtype
        )

    def advance(self, dynamics: Dynamics, step: Any, influence: PyTree, noise: Any):
        u, a = influence
        at = units(summed(dynamics, self.name), dynamics, step)
        rank, *shape = a.shape
        direct = jnp.einsum("sgh,hk->shgk", at.by_sum, jnp.eye(at.by_sum.shape[2], dtype=a.dtype)).reshape(shape)
        pushed = jax.vmap(jax.vmap(step.push, in_axes=1, out_axes=1))(a)
        left = jnp.concatenate([u, at.inputs[None]])
        right = jnp.concatenate([pushed, direct[None]]).reshape(rank + 1, -1)
        left, right = fewer(left, right, noise)
        return left.astype(u.dtype), right.reshape(a.shape).astype(a.dtype)

    def credit(self, dynamics: Dynamics, influence: PyTree, e: Array):
        u, a = influence
        return as_parameters(summed(dynamics, self.name), jnp.einsum("rs,ri->si", jnp.einsum("h,rhs->rs", e, a), u))


def fewer(
    left: Float[Array, "q m"], right: Float[Array, "q n"], signs: Float[Array, " q"]
) -> tuple[Float[Array, "r m"], Float[Array, "r n"]]:
    """q = r + 1 products left_iᵀ right_i as r random ones, of the same sum on average and of least variance; what
    has no more than r singular values is as it was."""
    by_left, small_left = qr(left.T)
    by_right, small_right = qr(right.T)
    outer_left, values, outer_right = svd(small_left @ small_right.T)
    is_whole = len(values) < len(left)
    mixed = jnp.diag(jnp.sqrt(values)) if is_whole else least_variance(values) * signs[:, None]
    return (by_left @ outer_left @ mixed).T, (by_right @ outer_right.T @ mixed).T


def least_variance(values: Float[Array, " q"]) -> Float[Array, "q r"]:
    """L such that, with random signs on its rows, E[L Lᵀ] = diag(values) and the variance is the least of all matrices
    of rank r = q − 1; the values fall.

    The m largest are kept as they are, where each of them is larger than a fair share of those that are left: k + 1
    values are to go into k = r − m places. L Lᵀ is then the projection off a unit vector z, in the units of that share.
    """
    r = len(values) - 1
    rest = jnp.cumsum(values[::-1])[::-1]  # of this value and all smaller ones
    places = r - jnp.arange(r)
    share = rest[:r] / places
    first = jnp.argmax(values[:r] <= share)  # there is one: of the last place, the share is the sum of both
    level, mixed = share[first], jnp.arange(r + 1) >= first
    filled = jnp.where(level > 0, values / jnp.where(level > 0, level, 1), places[first] / (places[first] + 1))
    z = jnp.where(mixed, jnp.sqrt(jnp.maximum(1 - filled, 0)), 0)
    z = z / jnp.linalg.norm(z)
    v = z.at[0].add(1)  # Householder: all columns but the first are orthogonal to z
    others = (jnp.eye(r + 1, dtype=values.dtype) - 2 * jnp.outer(v, v) / (v @ v))[:, 1:]
    return jnp.sqrt(jnp.where(mixed, level, values))[:, None] * others
