"""A task for models that draw: keys among the inputs of what is trained on."""

from dataclasses import dataclass

from jaxtyping import Array

from tbptt_jax.models import Batch, Model
from tbptt_jax.noise import with_noise
from tbptt_jax.tasks.changed import Changed


@dataclass(frozen=True)
class Noisy(Changed):
    """The batches of another task, with the keys that a model draws by."""

    drawing: Model

    def noisy(self, batch: Batch, key: Array) -> Batch:
        return with_noise(self.drawing, batch, key)[1]
