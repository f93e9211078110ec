"""Tasks by name: those of the index, those that other packages announce, and those in a user's own file."""

from functools import cache

from tbptt_jax.named import known, make
from tbptt_jax.tasks.base import Task


@cache
def all_tasks() -> dict[str, type[Task]]:
    """Every registered class by its name; packages announce theirs under the entry points `tbptt_jax.tasks`."""
    from tbptt_jax import tasks

    return known(vars(tasks).values(), Task, "tbptt_jax.tasks")


def make_task(text: str) -> Task:
    """The task that a text describes.

    Args:
        text: Such as "copy(longest=10)" or "my_file.py:Mine(length=8)".

    Returns:
        The task.
    """
    return make("task", text, all_tasks(), Task)
