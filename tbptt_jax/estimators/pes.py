"""Evolution strategies over a stream: particles that keep their own states, and remember how they were perturbed."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from tbptt_jax.estimators.perturbation import Particles, Perturbation, unperturbed
from tbptt_jax.estimators.pytree import Real


@dataclass(frozen=True)
class PES(Perturbation):
    """Each particle keeps its perturbed states, and ξ_i, the sum of its ε_i: g = (2σ²N)⁻¹ Σ_i ξ_i (L⁺ − L⁻).

    ε is drawn anew for every chunk. Over a stream its mean is the gradient of the whole stream's smoothed loss; its
    variance grows with the number of chunks since the start.
    """

    sigma: Real = 0.01
    particles: int = field(default=8, metadata={"static": True})
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"

    def init(self, model, params, batch_size, key):
        state = model.initial_state(params, batch_size)
        copies = self.copies(state)
        flat = ravel_pytree(params)[0]
        return Particles(state, copies, copies, jnp.zeros((self.particles, len(flat)), flat.dtype))

    def __call__(self, model, params, carry, batch, key):
        noise = self.draw(key, params)
        total = carry.vectors + noise
        differences, plus, minus = self.differences(model, params, carry.plus, carry.minus, batch, noise)
        estimate, state = unperturbed(model, params, carry.state, batch, self.gradient(params, total, differences))
        return estimate, Particles(state, plus, minus, total)


@dataclass(frozen=True)
class NRES(Perturbation):
    """Each particle keeps its perturbed states, and one ε_i for the whole stream: g = (2σ²N)⁻¹ Σ_i ε_i (L⁺ − L⁻).

    Its mean over a stream is that of PES, with a variance that does not grow: the noise is reused. The loss must look
    alike all along the stream, since no new direction is tried before it starts anew.
    """

    sigma: Real = 0.01
    particles: int = field(default=8, metadata={"static": True})
    unbiased: ClassVar[str] = "stream"
    reference: ClassVar[str] = "Li et al. 2023, Noise-reuse in online evolution strategies"

    def init(self, model, params, batch_size, key):
        state = model.initial_state(params, batch_size)
        copies = self.copies(state)
        return Particles(state, copies, copies, self.draw(key, params))

    def __call__(self, model, params, carry, batch, key):
        noise = carry.vectors
        differences, plus, minus = self.differences(model, params, carry.plus, carry.minus, batch, noise)
        estimate, state = unperturbed(model, params, carry.state, batch, self.gradient(params, noise, differences))
        return estimate, Particles(state, plus, minus, noise)
