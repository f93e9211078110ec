"""Evolution strategies over a stream: particles that keep their own states, and remember how they were perturbed."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.perturbation import Particles, Perturbation, unperturbed
from tbptt_jax.estimators.pytree import Real
from tbptt_jax.models import Batch, Model, Params, sequence_shape


class Promise:
    """What the mean of particles is that may start anew: of the class, and of an instance that says after how many
    chunks."""

    def __get__(self, est: Any, kind: Any):
        return "stream" if est is None or est.chunks is None else "never"


@dataclass(frozen=True)
class Persistent(Perturbation):
    """Particles that keep their perturbed states from chunk to chunk: g = (2σ²N)⁻¹ Σ_i vector_i (L⁺ − L⁻).

    After `chunks` chunks, if that is given, they start anew from the unperturbed state: what the parameters did before
    is left out then, as it is by truncation to that many chunks.
    """

    sigma: Real = 0.01
    particles: int = field(default=8, metadata={"static": True})
    chunks: int | None = field(default=None, metadata={"static": True})
    unbiased: ClassVar[str] = Promise()  # type: ignore[assignment]

    def __post_init__(self):
        super().__post_init__()
        if self.chunks is not None:
            self.require_whole("chunks", 1)

    @abstractmethod
    def perturbed(self, vectors: Float[Array, "N P"], fresh: Float[Array, "N P"], first: Array) -> tuple[Array, Array]:
        """The ε of a chunk and the vectors that weigh its differences, from those of the chunk before (0 before the
        first chunk) and from noise that is drawn anew."""

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        state = model.initial_state(params, sequence_shape(batch)[1])
        copies, flat = self.copies(state), ravel_pytree(params)[0]
        return Particles(state, copies, copies, jnp.zeros((self.particles, len(flat)), flat.dtype), jnp.zeros((), int))

    def states_alive(self, length: int):
        return 1  # it goes forward only

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        state, plus, minus, vectors, age = carry
        if self.chunks is not None:
            age = age % self.chunks
            anew = self.copies(state), self.copies(state), jnp.zeros_like(vectors)
            plus, minus, vectors = jax.tree.map(
                lambda new, old: jnp.where(age == 0, new, old), anew, (plus, minus, vectors)
            )
        noise, vectors = self.perturbed(vectors, self.draw(key, params), age == 0)
        differences, plus, minus = self.differences(model, params, plus, minus, batch, noise)
        estimate, state = unperturbed(model, params, state, batch, self.gradient(params, vectors, differences))
        return estimate, Particles(state, plus, minus, vectors, age + 1)


@dataclass(frozen=True)
class PES(Persistent):
    """Persistent evolution strategies: ε is drawn anew for every chunk, and ξ_i, the sum of a particle's ε, weighs.

    Over a stream its mean is the gradient of the whole stream's smoothed loss; where the stream is random, its variance
    grows with the number of chunks since the start.
    """

    reference: ClassVar[str] = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"

    def perturbed(self, vectors: Array, fresh: Array, first: Array):
        return fresh, vectors + fresh


@dataclass(frozen=True)
class NRES(Persistent):
    """Noise-reuse evolution strategies: each particle has one ε_i, drawn at its start and used in every chunk.

    Its mean over a stream is that of PES, with a variance that does not grow. No new direction is tried before the
    particles start anew.
    """

    reference: ClassVar[str] = "Li et al. 2023, Noise-reuse in online evolution strategies"

    def perturbed(self, vectors: Array, fresh: Array, first: Array):
        noise = jnp.where(first, fresh, vectors)
        return noise, noise
