"""Evolution strategies: perturb the parameters for one chunk, and look which way the loss falls."""

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Array, PyTree

from tbptt_jax.estimators.laws import Noise
from tbptt_jax.estimators.perturbation import Perturbation, unperturbed
from tbptt_jax.models import Batch, Model, Params
from tbptt_jax.pytree import Real


@dataclass(frozen=True)
class ES(Perturbation):
    """g = (2σ²N)⁻¹ Σ_i ε_i (L(w + ε_i) − L(w − ε_i)), every particle from the state at the chunk's start.

    Its mean is the gradient of the chunk's smoothed loss.
    """

    sigma: Real = 0.01
    particles: int = field(default=8, metadata={"static": True})
    unbiased: ClassVar[str] = "chunk"
    reference: ClassVar[str] = "Salimans et al. 2017, Evolution strategies as a scalable alternative to RL"

    def states_alive(self, length: int):
        return 1  # it goes forward only

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        noise = self.draw(key, params)
        start = self.copies(carry)
        differences, _, _ = self.differences(model, params, start, start, batch, noise)
        return unperturbed(model, params, carry, batch, self.gradient(params, noise, differences))


@dataclass(frozen=True)
class TruncatedES(ES):
    """ES in a stream: the same estimate, which misses what the parameters did to the state before the chunk.

    As an estimate of the gradient of the whole stream's smoothed loss it is biased, as truncated backpropagation is.
    """

    name: ClassVar[str] = "truncated_es"
    unbiased: ClassVar[str] = "never"
    reference: ClassVar[str] = "Metz et al. 2019, Understanding and correcting pathologies in learned optimizers"

    def noise_law(self):
        return Noise(self.particles, kept_for=1, carried=False)
