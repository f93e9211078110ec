"""A user's own loss in the place of a model: `loss(params, batch)`, any JAX function with loops in it."""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from tbptt_jax.analysis.precision import exactly
from tbptt_jax.analysis.spectrum import BiasCurve
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimate, Estimator, require_estimator
from tbptt_jax.estimators.segment import Segment
from tbptt_jax.estimators.window import Window
from tbptt_jax.forward import loss
from tbptt_jax.gradients.cuts.kinds import Truncates
from tbptt_jax.models import Batch, Model, Params, sequence_shape
from tbptt_jax.programs.loops import scans
from tbptt_jax.programs.truncate import truncate

Loss: TypeAlias = Any  # Callable[[params, batch], Array]; a Model cannot be told from it by a checker of types


@dataclass(frozen=True)
class Truncated(Estimator):
    """The gradient of a loss whose loops are cut; the function stands where estimators are given a model."""

    truncation: Any
    unbiased: ClassVar[str] = "never"

    def init(self, model: Any, params: Params, batch: Any, key: Array | None) -> None:
        return None

    def restart(self, model: Any, params: Params, carry: None, batch: Any, key: Array | None) -> None:
        return None

    def __call__(self, model: Any, params: Params, carry: None, batch: Any, key: Array | None):
        value, grads = jax.value_and_grad(truncate(model, self.truncation, key=key))(params, batch)
        return Estimate(value, grads), None


def fitted(est: Any, model: Any) -> Estimator:
    """The estimator for a model, or for a loss; what is neither is named."""
    require_estimator(est)
    if isinstance(model, Model):
        return est
    if isinstance(model, type) or not callable(model):
        raise UserError(f"model: a Model or a function loss(params, batch) is needed, got {model!r:.80}")
    if not isinstance(est, Truncates):
        raise UserError(f"est: for a loss an estimator that cuts is needed, such as Segment(16), got {est}")
    return Truncated(est)


@exactly
def exact_gradient(model: Any, params: Params, batch: Any) -> PyTree:
    """That of the loss, of a model or as it is given."""
    if isinstance(model, Model):
        return jax.grad(loss, argnums=1)(model, params, batch)
    return jax.grad(model)(params, batch)


def steps_of(model: Any, params: Params, batch: Any) -> int:
    """How many steps the longest loop has that truncation cuts."""
    if isinstance(model, Model):
        return sequence_shape(batch)[0]
    found = [loop.length for loop in scans(model)(params, batch) if loop.outermost and loop.carries_floats]
    return max((length for length in found if length is not None), default=0)


@exactly
def truncation_bias(
    model: Model | Loss, params: Params, batch: Batch | PyTree, taus: Any = None
) -> dict[str, BiasCurve]:
    """What it would cost to truncate: the exact bias of `Window(tau)` and of `Segment(tau)` for all lengths at once.

    Nothing is sampled: each gradient is computed, in one compiled program.

    Args:
        model: A Model, or a function `loss(params, batch)`, whose outermost loops are cut.
        params: The parameters.
        batch: A Batch for a Model; else whatever the function reads.
        taus: The lengths; None: all from 1 to the number of steps.

    Returns:
        A curve for "window" and one for "segment" (at offset 0), with a value for every length.
    """
    steps = steps_of(model, params, batch)
    if not steps:
        raise UserError("truncation_bias: there is no loop that could be cut; tb.scans(loss)(params, batch) lists them")
    taus = jnp.arange(1, steps + 1) if taus is None else jnp.asarray(taus)
    if taus.ndim != 1 or not jnp.issubdtype(taus.dtype, jnp.integer) or not bool((taus >= 1).all()):
        raise UserError(f"taus: whole numbers of at least 1 are needed, got {taus}")

    @jax.jit
    def curves(params, batch, taus):
        exact = ravel_pytree(exact_gradient(model, params, batch))[0]

        def of(kind):
            def one(tau):
                est = fitted(kind(tau), model)
                start = est.init(model, params, batch, None)
                g = ravel_pytree(est(model, params, start, batch, None)[0].grads)[0]
                return jnp.sum((g - exact) ** 2), g @ exact / (jnp.linalg.norm(g) * jnp.linalg.norm(exact))

            squared, cosine = lax.map(one, taus)
            return BiasCurve(squared, jnp.sqrt(squared) / jnp.linalg.norm(exact), cosine)

        return {"window": of(Window), "segment": of(Segment)}

    return curves(params, batch, taus)
