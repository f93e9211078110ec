"""What predicts the credit that a cut throws away, one file a kind, and their index."""

from tbptt_jax.critics.base import Critic as Critic
from tbptt_jax.critics.by_name import all_critics as all_critics
from tbptt_jax.critics.by_name import make_critic as make_critic
from tbptt_jax.critics.least_squares import Features as Features
from tbptt_jax.critics.least_squares import Linear as Linear
from tbptt_jax.critics.network import MLP as MLP
from tbptt_jax.critics.network import Network as Network

__all__ = [name for name, value in vars().items() if callable(value)]  # not the modules
