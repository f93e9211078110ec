"""An estimator answers one question: what is the gradient of this chunk's loss?

It is a frozen dataclass whose fields are its hyperparameters, and a pytree whose leaves are the numbers among them. As
an ordinary argument of a jitted function it never recompiles it when they change (from one float to another, that is),
and `vmap` over a stacked one is a whole sweep in one program. Closed over, or as a static argument, its numbers are
constants of the program.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.laws import Fixed, Law
from tbptt_jax.estimators.pytree import Whole, register
from tbptt_jax.gradients.chunk import chunk_loss
from tbptt_jax.gradients.cuts import Cut, Gates, Lags
from tbptt_jax.gradients.scan import cut_scan
from tbptt_jax.model import Batch, Model, Params, sequence_shape
from tbptt_jax.named import Named

Carry = PyTree


class Estimate(NamedTuple):
    """The loss of a chunk and an estimate of its gradient, shaped as the parameters."""

    loss: Float[Array, ""]
    grads: PyTree


class Estimator(Named, ABC):
    """A way to estimate the gradient of a recurrent model. Subclass it as a frozen dataclass."""

    unbiased: ClassVar[str]
    """What the mean of the estimates is: "chunk", the gradient of the chunk's loss; "stream", that of the whole
    stream's, across chunks too; or "never"."""

    @classmethod
    def of_length(cls, tau: int) -> "Estimator | None":
        """The estimator that keeps tau states on average for its backward pass; None where the method has no length."""
        return None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)

    def init(self, model: Model, params: Params, batch_size: int, key: Array | None) -> Carry:
        """What is carried into the first chunk of a stream."""
        return model.initial_state(params, batch_size)

    def restart(self, model: Model, params: Params, carry: Carry, batch_size: int, key: Array | None) -> Carry:
        """What is carried into the first chunk of another stream; what was learned of the model may be kept."""
        return self.init(model, params, batch_size, key)

    @abstractmethod
    def __call__(
        self, model: Model, params: Params, carry: Carry, batch: Batch, key: Array | None
    ) -> tuple[Estimate, Carry]:
        """The estimate for one chunk, and what is carried into the next one."""

    def law(self, length: int) -> Law | None:
        """How the cuts of its backward pass are distributed, if that is known: `exact` needs it. One law for each
        sequence of a batch, all independent, unless the estimator has a true field `shared`."""
        return None

    def require_key(self, key: Array | None) -> Array:
        if key is None:
            raise ValueError(f"{self} draws at random: pass key=jax.random.key(seed)")
        return key


class Truncation(Estimator):
    """An estimator that backpropagates through a backward pass that is cut; also a `truncation` for `scan`."""

    @abstractmethod
    def cut(self, key: Array | None, length: int, batch_size: int | None) -> Cut:
        """The cut of one sequence of `length` steps; a batch size of None asks for one that is not batched."""

    def __call__(self, model, params, carry, batch, key):
        cut = self.cut(key, *sequence_shape(batch))

        def loss_and_state(params):
            return chunk_loss(model, params, carry, batch, partial(cut_scan, cut=cut))

        (loss, state), grads = jax.value_and_grad(loss_and_state, has_aux=True)(params)
        return Estimate(loss, grads), state


class GatedEstimator(Truncation):
    """A truncation that scales the credit between steps: δ_t = e_t + gate_{t+1} J_{t+1}ᵀ δ_{t+1}."""

    @abstractmethod
    def gates(self, key: Array | None, length: int, batch_size: int) -> Float[Array, "T B"]:
        """The factor on the credit that flows from step t into h_{t-1}. The first one matters only to an initial state
        that depends on the parameters; in a chunk that state is data."""

    def cut(self, key, length, batch_size):
        gates = self.gates(key, length, batch_size or 1)
        if gates.shape != (length, batch_size or 1):
            raise ValueError(
                f"{self.name}.gates: shape [T, B] = {[length, batch_size or 1]} is needed, got {gates.shape}"
            )
        return Gates(gates if batch_size else gates[:, 0])


class WindowedEstimator(Truncation):
    """A truncation that lets each loss see a number of lags."""

    @abstractmethod
    def lags(self, length: int) -> Array | int:
        """How many lags a loss sees, in a sequence of `length` steps; it may be traced."""

    def cut(self, key, length, batch_size):
        return Lags(self.lags(length))

    def law(self, length):
        return Fixed()


def settled(est: Estimator, model: Model, params: Params, batch: Batch, key: Array | None, chunks: Whole) -> Carry:
    """What an estimator carries that has seen a batch so many times, each from its start: one that learns of the model
    how to estimate (adaptive, optimal) has learned from them."""
    _, batch_size = sequence_shape(batch)
    init_key, key = (None, None) if key is None else jax.random.split(key)
    carry = est.init(model, params, batch_size, init_key)
    if type(est).restart is Estimator.restart:
        return carry  # nothing that it learns outlives a restart

    def see(i, carry):
        keys = (None, None) if key is None else jax.random.split(jax.random.fold_in(key, i))
        return est(model, params, est.restart(model, params, carry, batch_size, keys[0]), batch, keys[1])[1]

    return jax.lax.fori_loop(0, chunks, see, carry)


@partial(jax.jit, static_argnames="model")
def gradient(est: Estimator, model: Model, params: Params, batch: Batch, key: Array | None = None) -> PyTree:
    """One estimate of the gradient, on one batch of fresh sequences; compiled once for all values of est's numbers."""
    _, batch_size = sequence_shape(batch)
    init_key, key = (None, None) if key is None else jax.random.split(key)
    carry = est.init(model, params, batch_size, init_key)
    return est(model, params, carry, batch, key)[0].grads
