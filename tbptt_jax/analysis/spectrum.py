"""The gradient by lag, and from it the bias of every scheme that reweights lags, for all its lengths at once.

The full gradient is Σ_k G_k + R, with G_k the part that crosses k steps and R that of the readout. In expectation a
truncation is Σ_k c_k G_k + R, so with the Gram matrix ⟨G_k, G_l⟩ its squared bias is (c − 1)ᵀ Gram (c − 1).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.analysis.precision import exactly
from tbptt_jax.errors import UserError, choose
from tbptt_jax.gradients.cuts.lags import earlier, pullback, trajectory
from tbptt_jax.jax_internals import is_traced
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets

SHOWN = 16
"""Lags that a printed spectrum has at most: the first ones, and the last."""


class LagSpectrum(NamedTuple):
    """All G_k (leaves `[K, ...]`; None where only their products were asked for) and R, and all their inner products.

    Row and column K of `products` belong to R.
    """

    gradients: PyTree | None
    readout: PyTree
    products: Float[Array, "K+1 K+1"]
    length: Array
    """T: how many lags there are in all."""

    def __str__(self) -> str:
        """The norms by lag, where these are numbers: in a compiled function they are not."""
        if is_traced(self.products) or self.products.ndim != 2:
            return repr(self)
        norms = [float(norm) for norm in self.norms]
        shown = norms if len(norms) <= SHOWN else [*norms[: SHOWN - 1], norms[-1]]
        lags = [*range(len(shown) - 1), len(norms) - 1]
        rows = [f"lag {lag:4}{norm:12.4g}" for lag, norm in zip(lags, shown)]
        return "\n".join([f"horizon {int(self.horizon)} of {int(self.length)} steps; ‖G_k‖:", *rows])

    @property
    def gram(self) -> Float[Array, "K K"]:
        """⟨G_k, G_l⟩."""
        return self.products[:-1, :-1]

    @property
    def norms(self) -> Float[Array, " K"]:
        """‖G_k‖."""
        return jnp.sqrt(jnp.diag(self.gram))

    @property
    def horizon(self) -> Array:
        """The smallest lag k such that the lags 0..k hold 95% of the gradient: ‖Σ_{l>k} G_l‖ ≤ 0.05 ‖Σ_l G_l‖, there
        and at every larger lag; K where the gradient is not finite."""
        lags = len(self.gram)
        beyond = (jnp.arange(lags) > jnp.arange(lags)[:, None]).astype(self.gram.dtype)  # [k, l]: l > k
        tails = jnp.sqrt(jnp.maximum(jnp.einsum("ki,ij,kj->k", beyond, self.gram, beyond), 0))
        within = tails <= 0.05 * jnp.sqrt(jnp.sum(self.gram))
        fine = jnp.all(jnp.isfinite(self.gram))
        return jnp.where(fine, jnp.max(jnp.where(within, 0, jnp.arange(lags) + 1)), lags)


@exactly
@takes_resets
@partial(jax.jit, static_argnames=("model", "lags", "products_only"))
def lag_spectrum(
    model: Model, params: Params, batch: Batch, lags: int | None = None, products_only: int | None = None
) -> LagSpectrum:
    """The gradient by lag: G_k is what the losses say of the parameters' use k steps earlier.

    All lags are made in one pass that is parallel over time.

    Args:
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`.
        lags: How many, from 0 on; None: all T.
        products_only: How many gradients are held at a time, for models whose K gradients do not fit: the inner
            products alone come back, at about K / products_only times the work. None: all are held and come back.

    Returns:
        The gradients and their inner products.
    """
    length, _ = sequence_shape(batch)
    lags = length if lags is None else lags
    if not 1 <= lags <= length:
        raise UserError(f"lags: a whole number from 1 to T = {length} is needed, got {lags!r}")
    if products_only is not None and products_only < 1:
        raise UserError(f"products_only: the number of gradients to hold, at least 1, is needed, got {products_only!r}")
    run = trajectory(model, params, batch)
    pull = pullback(model, params, batch.inputs, run.before)
    flat_readout, unravel = ravel_pytree(run.readout)

    def one_lag(credits, _):
        gradient, before = pull(credits)
        return earlier(before), ravel_pytree(gradient)[0]

    if products_only is None:
        _, gradients = lax.scan(one_lag, run.own_credit, length=lags)
        rows = jnp.concatenate([gradients, flat_readout[None]])
        return LagSpectrum(jax.vmap(unravel)(gradients), run.readout, rows @ rows.T, jnp.asarray(length))

    held = min(products_only, lags)
    blocks = -(-lags // held)

    def one_block(credits, _):
        next_credits, gradients = lax.scan(one_lag, credits, length=held)

        def against(credits, _):
            credits, gradient = one_lag(credits, None)
            return credits, gradients @ gradient

        _, products = lax.scan(against, credits, length=blocks * held)  # [lag from this block's first, held]
        return next_credits, (products, gradients @ flat_readout)

    _, (products, with_readout) = lax.scan(one_block, run.own_credit, length=blocks)
    first, row = jnp.divmod(jnp.arange(blocks * held), held)
    column = jnp.arange(blocks * held)
    distance = jnp.maximum(column[None, :] - (first * held)[:, None], 0)
    upper = products[first[:, None], distance, row[:, None]]
    gram = jnp.where(column[None, :] >= column[:, None], upper, upper.T)[:lags, :lags]
    last = jnp.concatenate([with_readout.reshape(-1)[:lags], flat_readout[None] @ flat_readout])
    products = jnp.block([[gram, last[:-1, None]], [last[None]]])
    return LagSpectrum(None, run.readout, products, jnp.asarray(length))


class BiasCurve(NamedTuple):
    """For every length: ‖E estimate − exact‖², the root of it over ‖exact‖, and the cosine between the two."""

    squared_bias: Float[Array, " N"]
    relative_bias: Float[Array, " N"]
    cosine: Float[Array, " N"]


SCHEMES = {
    "window": lambda lags, tau: lags < tau,
    "segment": lambda lags, tau: jnp.maximum(0, 1 - lags / tau),
    "geometric": lambda lags, keep: keep**lags,
}


def bias_curve(spectrum: LagSpectrum, scheme: str, taus: Array | Sequence) -> BiasCurve:
    """The exact bias of a truncation for all its lengths at once.

    Args:
        spectrum: What `lag_spectrum` gives, of all T lags.
        scheme: "window" (τ lags), "segment" (τ steps, at a random offset) or "geometric" (a probability to keep).
        taus: The lengths `[N]`, or the probabilities.

    Returns:
        A value for every length.
    """
    weigh = choose("scheme", scheme, SCHEMES)
    if not is_traced(spectrum.length) and len(spectrum.gram) != spectrum.length:
        raise UserError(f"spectrum: all {spectrum.length} lags are needed, got {len(spectrum.gram)}")
    low, high = (0, 1) if scheme == "geometric" else (1, float("inf"))
    if not is_traced(taus) and not np.all((np.asarray(taus) >= low) & (np.asarray(taus) <= high)):
        raise UserError(f"taus: numbers from {low} to {high} are needed for {scheme}, got {taus!r}")
    lags = jnp.arange(len(spectrum.gram))
    weights = jax.vmap(partial(weigh, lags))(jnp.asarray(taus)).astype(spectrum.products.dtype)  # c: [N, K]
    missing = weights - 1
    squared_bias = jnp.maximum(jnp.einsum("nk,kl,nl->n", missing, spectrum.gram, missing), 0)
    exact = jnp.ones(len(spectrum.products))
    mean = jnp.concatenate([weights, jnp.ones((len(weights), 1))], axis=1)
    length = jnp.sqrt(exact @ spectrum.products @ exact)
    mean_length = jnp.sqrt(jnp.einsum("nk,kl,nl->n", mean, spectrum.products, mean))
    cosine = mean @ spectrum.products @ exact / (length * mean_length)
    return BiasCurve(squared_bias, jnp.sqrt(squared_bias) / length, cosine)
