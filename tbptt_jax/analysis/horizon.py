"""How far a loss looks back: the credit of each loss at each lag, and the rate at which it fades."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.analysis.precision import exactly
from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.lags import earlier, pullback, trajectory
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets


@exactly
@takes_resets
@partial(jax.jit, static_argnames="model")
def credit_norms(model: Model, params: Params, batch: Batch) -> Float[Array, "T T"]:
    """How much credit each loss has for each earlier state: entry [t, k] is ‖∂l_t/∂h_{t−k}‖.

    Args:
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`, over which the norms are averaged.

    Returns:
        The norms `[T, T]`, by loss and lag, both from 0; 0 where k > t.
    """
    run = trajectory(model, params, batch)
    pull = pullback(model, params, batch.inputs, run.before)

    def one_lag(credits, _):
        # one loss alone reaches h_t over k steps, that of t + k
        return earlier(pull(credits)[1]), jnp.mean(norms_of(credits), axis=1)

    _, norms = lax.scan(one_lag, loss_credit(model, params, run.after, batch), length=sequence_shape(batch)[0])
    return by_loss(norms)


@exactly
def linear_credit_norms(model: Model, params: Params, batch: Batch) -> Float[Array, "T T"]:
    """`credit_norms` of a linear network from its eigenvalues: ‖(W_hhᵀ)^k W_qhᵀ ∂l_t/∂o_t‖ with W_hh = V Λ V⁻¹.

    Args:
        model: A network of linear cells, whose W_hh has a full set of eigenvectors; where it has not, norms are NaN.
        params: Its parameters.
        batch: Sequences `[T, B, ...]` without resets.

    Returns:
        The norms `[T, T]`, by loss and lag.
    """
    if model.summed_layer is None or not model.summed_layer.linear:
        raise UserError(f"model: a linear network is needed, got {model}; use credit_norms")
    if batch.resets is not None:
        raise UserError("batch: its resets stop credit, which eigenvalues do not know; use credit_norms")
    run = trajectory(model, params, batch)
    (own,) = loss_credit(model, params, run.after, batch)
    values, vectors = jnp.linalg.eig(params["cell"]["W_hh"])
    coordinates = own @ vectors
    lags = jnp.arange(len(own))
    faded = jnp.einsum("tbh,kh,hi->tkbi", coordinates, values ** lags[:, None], jnp.linalg.inv(vectors))
    return jnp.tril(jnp.mean(jnp.linalg.norm(faded, axis=-1), axis=-1))


def loss_credit(model: Model, params: Params, after: PyTree, batch: Batch):
    """∂l_t/∂h_t of every loss on its own, without weights: leaves `[T, B, ...]`."""

    def total(moving):
        outputs = jax.vmap(model.readout, (None, 0))(params, with_floats(after, moving))
        return jnp.sum(jax.vmap(model.losses)(outputs, batch.targets))

    return jax.grad(total)(floats(after))


def norms_of(credits: list) -> Float[Array, "T B"]:
    """The norms over all leaves `[T, B, ...]`, scaled so that small credits do not vanish when they are squared."""
    flat = jnp.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in credits], axis=-1)
    largest = jnp.max(jnp.abs(flat), axis=-1)
    return largest * jnp.linalg.norm(flat / jnp.where(largest == 0, 1, largest)[..., None], axis=-1)


def by_loss(norms: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """From [k, t], credit on h_t over k steps, to [t, k], that of loss t over k steps."""
    loss, lag = jnp.meshgrid(jnp.arange(len(norms)), jnp.arange(len(norms)), indexing="ij")
    return jnp.where(lag <= loss, norms[lag, jnp.maximum(loss - lag, 0)], 0)


def decay_rate(norms: Float[Array, "T T"], first: int = 0, last: int | None = None) -> Float[Array, ""]:
    """The rate β̂ at which credit fades with the lag: below 1 it vanishes, above it explodes.

    It fits φ_k ≈ φ_first β^(k − first) by least squares on log φ_k, where φ_k is the mean of `norms` over the losses
    that have a lag k. Lags whose credit is too small for the floating point, 0, are left out.

    Args:
        norms: What `credit_norms` gives.
        first: The first lag of the fit.
        last: The last one; None: the longest there is.

    Returns:
        β̂.
    """
    length = len(norms)
    last = length - 1 if last is None else last
    if not 0 <= first < last < length:
        raise UserError(f"first, last: lags with 0 <= first < last < {length} are needed, got {first} and {last}")
    lags = jnp.arange(length)
    phi = jnp.sum(norms, axis=0) / (length - lags)
    used = ((lags >= first) & (lags <= last) & (phi > 0)).astype(phi.dtype)
    x = used * (lags - used @ lags / jnp.sum(used))
    return jnp.exp(x @ jnp.where(used > 0, jnp.log(jnp.where(phi > 0, phi, 1)), 0) / (x @ x))
