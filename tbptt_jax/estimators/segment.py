"""Regular truncation: the sequence in segments, each backpropagated on its own."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Pace
from tbptt_jax.estimators.full import Full
from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Fixed, Patterns
from tbptt_jax.forward import loss_weights
from tbptt_jax.gradients.cuts.kinds import Blocks, Gates
from tbptt_jax.models import Batch, Model, Params, Stopping, sequence_shape
from tbptt_jax.pytree import Whole


@dataclass(frozen=True)
class Segment(GatedEstimator):
    """Segments of tau steps, each backpropagated on its own.

    gate_t = 0 before the first step of a segment, else 1. The first segment ends after offset mod tau steps (0: after
    tau). An offset of "random" is drawn uniformly from 0..tau−1, and then the mean is Σ_k max(0, 1 − k/tau) G_k. Exact
    once tau is at least T. A tau that is known when the program is traced lets the segments run side by side, tau deep;
    with `in_order` they run one after the other instead, and the memory for activations is that of one segment.
    """

    tau: Whole
    offset: int | str = field(default=0, metadata={"static": True})
    in_order: bool = False
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Jaeger 2002, A tutorial on training recurrent neural networks"

    def __post_init__(self):
        self.require_whole("tau", 1)
        if self.offset != "random":
            if isinstance(self.offset, str):
                raise UserError(f'segment: offset must be a whole number or "random", got {self.offset!r}')
            self.require_whole("offset", 0)
        if self.in_order and self.states is not None:
            raise UserError(f"segment: in_order keeps tau states; leave states out, got states={self.states!r}")
        if self.in_order and self.reach:
            raise UserError("segment: in_order takes up each segment where the last one ended; leave reach out")
        if self.in_order and self.parallel:
            raise UserError("segment: in_order makes one segment after the other; leave parallel out")
        if self.in_order and not isinstance(self.tau, int):
            raise UserError(f"segment: in_order needs a tau that is a Python number, got {self.tau!r}")

    @classmethod
    def of_length(cls, tau: int):
        return cls(tau)

    @property
    def nominal_length(self):
        return self.tau

    def pace(self, chunk: int):
        """With offset 0 this is the textbook's truncation: chunks of tau steps, with one update each, within which
        nothing is cut. With any other offset it is trained in the same chunks as other estimators."""
        return Pace(int(self.tau), float(self.tau)) if self.offset == 0 else super().pace(chunk)

    def laid_at_random(self):
        """With offset 0, what a loss sees depends on where it stands; other offsets stay as they are."""
        return replace(self, offset="random") if self.offset == 0 else self

    @property
    def constants(self) -> tuple[str, ...]:  # type: ignore[override]
        """Segments in order are a loop of fixed shapes: their length is a constant of the compiled program."""
        return ("tau",) if self.in_order else ()

    def first(self, key: Array | None):
        """The length of the first segment, in 0..tau−1; 0 stands for a whole one."""
        if self.offset == "random":
            return jax.random.randint(self.require_key(key), (), 0, self.tau)
        return self.offset % self.tau

    def gates(self, key: Array | None, length: int, batch_size: int):
        step = jnp.arange(length)
        cuts = ((step - self.first(key)) % self.tau == 0) & (step > 0)
        return jnp.broadcast_to(1.0 - cuts[:, None], (length, batch_size))

    def cut(self, key: Array | None, length: int, batch_size: int | None, **seen: PyTree):
        if not isinstance(self.tau, int) or self.states is not None:
            return super().cut(key, length, batch_size, **seen)
        first = self.first(key)
        tau = min(self.tau, length)
        if isinstance(first, int) and first == 0:
            return Gates(None) if tau == length else Blocks(tau, tau)
        return Blocks(tau, tau, jnp.minimum(first, length), whole=False)

    def law(self, length: int):
        if self.offset != "random":
            return Fixed()
        kinds = min(int(self.tau), length)  # all offsets from T on, like 0, leave the sequence whole
        gates = jnp.stack([Segment(self.tau, offset).gates(None, length, 1)[:, 0] for offset in range(kinds)])
        return Patterns(gates, jnp.full(kinds, 1 / self.tau).at[0].add((self.tau - kinds) / self.tau))

    def states_alive(self, length: int):
        return min(int(self.tau), length) if self.in_order else super().states_alive(length)

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        if self.in_order and self.critic is not None:
            raise UserError("segment: a critic needs the segments side by side; leave in_order out")
        if not self.in_order:
            return super().__call__(model, params, carry, batch, key)
        length, _ = sequence_shape(batch)
        weights = loss_weights(batch)
        batch, total_weight = batch._replace(weights=weights), jnp.sum(weights)
        first, tau = self.first(key), int(self.tau)
        whole = isinstance(first, int) and first == 0 and length % tau == 0
        if not whole:
            model = Stopping(model)  # in the first segment and the last, where there is no step
        of = partial(in_segments if whole else in_segments_from, batch, first, tau)
        shapes, _ = jax.eval_shape(lambda: Full()(model, params, carry, of(0), None))

        def add_segment(carry_and_sum, number):
            """One more segment: its own mean loss and gradient, by its share of the weights."""
            part: Any = of(number)
            estimate, carry = Full()(model, params, carry_and_sum[0], part, None)
            share = jnp.sum(part.weights) / jnp.where(total_weight == 0, 1, total_weight)
            total = jax.tree.map(lambda old, new: (old + share * new).astype(old.dtype), carry_and_sum[1], estimate)
            return (carry, total), None

        start = carry, jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), shapes)
        count = -(-length // tau) + (not isinstance(first, int) or first > 0)
        (carry, estimate), _ = lax.scan(add_segment, start, jnp.arange(count))
        return estimate, carry


def in_segments(batch: Batch, first: Any, tau: int, number: Any) -> Batch:
    """A segment of a batch that is a whole number of them."""
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, number * tau, tau), batch)


def in_segments_from(batch: Batch, first: Any, tau: int, number: Any) -> Batch:
    """A segment of a batch whose first segment ends after `first` steps, as `Stopping` reads it. A segment that is too
    short is filled up with copies of its last step, which are marked as no steps and have weight 0."""
    length, batch_size = sequence_shape(batch)
    start = number * tau - (-first) % tau
    begin, end = jnp.maximum(start, 0), jnp.minimum(start + tau, length)
    steps = begin + jnp.arange(min(tau, length))
    part = jax.tree.map(lambda leaf: leaf[jnp.clip(steps, 0, jnp.maximum(end - 1, 0))], batch)
    going = jnp.broadcast_to((steps < end)[:, None], (len(steps), batch_size))
    return part._replace(inputs=(part.inputs, going), weights=jnp.where(going, part.weights, 0))
