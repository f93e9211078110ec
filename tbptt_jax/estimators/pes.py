"""Evolution strategies over a stream: particles that keep their own states, and remember how they were perturbed."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.estimators.laws import Noise
from tbptt_jax.estimators.perturbation import Particles, Perturbation, unperturbed
from tbptt_jax.models import Batch, Model, Params, sequence_shape
from tbptt_jax.pytree import Real


class Promise:
    """The `unbiased` of particles: "stream" for the class and for instances that never start anew, "never" for those
    that start anew after some chunks."""

    def __get__(self, est: Any, kind: Any):
        return "stream" if est is None or est.chunks is None else "never"


@dataclass(frozen=True)
class Persistent(Perturbation):
    """Particles that keep their perturbed states from chunk to chunk: g = (2σ²N)⁻¹ Σ_i vector_i (L⁺ − L⁻).

    A particle's vector is the sum of the different noises that it has had. After `chunks` chunks, if that is given, it
    starts anew from the unperturbed state: what the parameters did before is left out then, as it is by truncation to
    that many chunks. `unlocked` particles do so at different times, each at its own place among the chunks.
    """

    sigma: Real = 0.01
    particles: int = field(default=8, metadata={"static": True})
    chunks: int | None = field(default=None, metadata={"static": True})
    unlocked: bool = False
    carries_more: ClassVar[bool] = True  # type: ignore[misc]
    unbiased: ClassVar[str] = Promise()  # type: ignore[assignment]

    def __post_init__(self):
        super().__post_init__()
        if self.chunks is not None:
            self.require_whole("chunks", 1)
        if self.unlocked and self.chunks is None:
            raise UserError(f"{self.name}: unlocked particles start anew; say after how many chunks")

    @property
    @abstractmethod
    def kept_for(self) -> int | None:
        """How many chunks a noise serves; None for ever."""

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        state = model.initial_state(params, sequence_shape(batch)[1])
        copies, flat = self.copies(state), ravel_pytree(params)[0]
        nothing = jnp.zeros((self.particles, len(flat)), flat.dtype)
        places = jnp.arange(self.particles) * (self.chunks or 0) // self.particles * self.unlocked
        return Particles(state, copies, copies, nothing, nothing, places)

    def noise_law(self):
        return Noise(self.particles, self.kept_for, carried=True)

    def states_alive(self, length: int):
        return 1  # it goes forward only

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        state, plus, minus, vectors, noise, age = carry
        first = age % self.chunks == 0 if self.chunks is not None else jnp.zeros(self.particles, bool)
        anew = self.copies(state), self.copies(state), jnp.zeros_like(vectors)
        plus, minus, vectors = jax.tree.map(
            lambda new, old: jnp.where(as_rows(first, old), new, old), anew, (plus, minus, vectors)
        )
        since = age % self.chunks if self.chunks is not None else age
        drawn = since == 0 if self.kept_for is None else since % self.kept_for == 0
        if self.unlocked:  # before a particle's place has come round, its first noise is drawn too
            drawn = drawn | jnp.all(vectors == 0, axis=1)
        fresh = self.draw(key, params)
        noise = jnp.where(as_rows(drawn, noise), fresh, noise)
        vectors = jnp.where(as_rows(drawn, noise), vectors + noise, vectors)
        differences, plus, minus = self.differences(model, params, plus, minus, batch, noise)
        estimate, state = unperturbed(model, params, state, batch, self.gradient(params, vectors, differences))
        return estimate, Particles(state, plus, minus, vectors, noise, age + 1)


def as_rows(flags: Array, leaf: Array) -> Array:
    """Flags of particles, shaped so that they choose among the rows of a leaf."""
    return flags.reshape(-1, *[1] * (leaf.ndim - 1))


@dataclass(frozen=True)
class PES(Persistent):
    """Persistent evolution strategies: ε is drawn anew for every chunk, and ξ_i, the sum of a particle's ε, weighs.

    Over a stream its mean is the gradient of the whole stream's smoothed loss; where the stream is random, its variance
    grows with the number of chunks since the start.
    """

    reference: ClassVar[str] = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"

    @property
    def kept_for(self):
        return 1


@dataclass(frozen=True)
class NRES(Persistent):
    """Noise-reuse evolution strategies: each particle has one ε_i, drawn at its start and used in every chunk.

    Its mean over a stream is that of PES, with a variance that does not grow. No new direction is tried before the
    particles start anew.
    """

    reference: ClassVar[str] = "Li et al. 2023, Noise-reuse in online evolution strategies"

    @property
    def kept_for(self):
        return None


@dataclass(frozen=True)
class GPES(Persistent):
    """Generalised persistent evolution strategies: ε is drawn anew every `reuse` chunks.

    `gpes(reuse=1)` is `pes`, and one that is never drawn anew is `nres`.
    """

    reuse: int = field(default=4, metadata={"static": True})
    reference: ClassVar[str] = "Li et al. 2023, Noise-reuse in online evolution strategies"

    def __post_init__(self):
        super().__post_init__()
        self.require_whole("reuse", 1)

    @property
    def kept_for(self):
        return self.reuse
