"""The exact variance of estimators that perturb, as sigma goes to 0, over a stream that is cut into chunks.

With z_S the noise of the S-th group of chunks that share one, and G_{t,R} the gradient of chunk t's loss through the
parameters of group R, one particle estimates Σ_{S,R} z_S (z_R · A_SR), A_SR = Σ G_{t,R} over the chunks t that come
after both groups have begun. Pairing the normals off (Isserlis) gives

    variance = P Σ_{S,R} ‖A_SR‖² + Σ_{S,R} ⟨A_SR, A_RS⟩,

divided by the number of particles; for `nres`, of one group, that is (P + 1) ‖g‖². Truncated ES has A_SS alone, with
the gradients of the chunks for themselves.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from tbptt_jax.analysis.precision import exactly
from tbptt_jax.errors import UserError, require_count
from tbptt_jax.estimators.base import Estimator, require_estimator
from tbptt_jax.forward import chunk_loss, loss_weights
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets


class Evolution(NamedTuple):
    """Of the gradient of the loss of a whole stream, as an estimator makes it from the chunks."""

    mean: Float[Array, " P"]
    """Flattened."""
    variance: Float[Array, ""]
    """Σ_params Var."""


@exactly
@takes_resets
def evolution(est: Estimator, model: Model, params: Params, batch: Batch, chunk: int) -> Evolution:
    """The exact mean and variance of an estimator that perturbs, over a stream, as sigma goes to 0.

    It takes the gradient of every chunk through every other: small models, some hundred chunks.

    Args:
        est: `pes`, `nres` or `gpes` that never starts anew, or `truncated_es`.
        model: The model.
        params: Its parameters, which are held.
        batch: The whole stream, `[T, B, ...]`.
        chunk: How many steps a chunk has; it divides T.

    Returns:
        The mean and the variance of the estimate of the stream's gradient, put together from its chunks.
    """
    require_estimator(est)
    length, _ = sequence_shape(batch)
    if length % require_count("chunk", chunk):
        raise UserError(f"chunk: a divisor of the {length} steps is needed, got {chunk}")
    noise = est.noise_law()
    if noise is None or est.chunks is not None:
        raise UserError(f"est: pes, nres or gpes that never start anew, or truncated_es, is needed, got {est}")
    through = gradients_by_chunk(model, params, batch, chunk)  # [n, n, P]
    count, width = len(through), through.shape[2]
    if not noise.carried:
        through = through * jnp.eye(count)[..., None]
    group = jnp.arange(count) // (noise.kept_for or count)
    groups = -(-count // (noise.kept_for or count))
    by_group = jax.vmap(lambda rows: jax.ops.segment_sum(rows, group, groups))(through)  # G_{t,R}
    later = jnp.cumsum(jax.ops.segment_sum(by_group, group, groups)[::-1], axis=0)[::-1]  # from group S on, of R
    begun = jnp.maximum(*jnp.meshgrid(jnp.arange(groups), jnp.arange(groups), indexing="ij"))
    a = later[begun, jnp.arange(groups)[None]]  # A_SR
    if not noise.carried:
        a = a * jnp.eye(groups)[..., None]
    variance = width * jnp.sum(a**2) + jnp.sum(a * jnp.swapaxes(a, 0, 1))
    return Evolution(jnp.sum(jnp.diagonal(a), axis=1), variance / noise.particles)


@partial(jax.jit, static_argnames=("model", "chunk"))
def gradients_by_chunk(model: Model, params: Params, batch: Batch, chunk: int) -> Float[Array, "n n P"]:
    """[t, r]: the gradient of chunk t's part of the mean loss through the parameters as chunk r uses them."""
    length, batch_size = sequence_shape(batch)
    count = length // chunk
    flat, restore = ravel_pytree(params)
    weights = loss_weights(batch)
    parts = jax.tree.map(lambda leaf: leaf.reshape(count, chunk, *leaf.shape[1:]), batch._replace(weights=weights))
    shares = jnp.sum(parts.weights, axis=(1, 2)) / jnp.sum(weights)

    def losses(copies: Array) -> Array:
        def one(state, now):
            copy, part = now
            loss, state = chunk_loss(model, restore(copy), state, part)
            return state, loss

        start = jax.lax.stop_gradient(model.initial_state(params, batch_size))
        return shares * jax.lax.scan(one, start, (copies, parts))[1]

    return jax.jacrev(losses)(jnp.broadcast_to(flat, (count, len(flat))))
