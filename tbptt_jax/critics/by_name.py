"""Critics by name: those of the index, those that other packages announce, and those in a user's own file."""

from functools import cache

from tbptt_jax.critics.base import Critic
from tbptt_jax.named import known, make


@cache
def all_critics() -> dict[str, type[Critic]]:
    """Every registered class by its name; packages announce theirs under the entry points `tbptt_jax.critics`."""
    from tbptt_jax import critics

    return known(vars(critics).values(), Critic, "tbptt_jax.critics")


def make_critic(text: str) -> Critic:
    """The critic that a text such as "linear()" or "my_file.py:Mine(depth=2)" describes."""
    return make("critic", text, all_critics(), Critic)
