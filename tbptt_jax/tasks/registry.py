"""Tasks by name: the built-in ones, those that other packages announce, and those in a user's own file."""

from functools import cache

from tbptt_jax.named import known, make
from tbptt_jax.tasks.a_n_b_n import AnBn
from tbptt_jax.tasks.adding import Adding
from tbptt_jax.tasks.agreement import Agreement
from tbptt_jax.tasks.base import Task
from tbptt_jax.tasks.brackets import Brackets
from tbptt_jax.tasks.copying import Copy
from tbptt_jax.tasks.influence_balancing import InfluenceBalancing
from tbptt_jax.tasks.recall import Recall
from tbptt_jax.tasks.text import Text, TimeMachine

BUILT_IN = (InfluenceBalancing, TimeMachine, Text, Copy, AnBn, Brackets, Adding, Recall, Agreement)


@cache
def tasks() -> dict[str, type[Task]]:
    """Every registered class by its name; packages announce theirs under the entry points `tbptt_jax.tasks`."""
    return known(BUILT_IN, Task, "tbptt_jax.tasks")


def make_task(text: str) -> Task:
    """The task that a text such as "copy(longest=10)" or "my_file.py:Mine(length=8)" describes."""
    return make("task", text, tasks(), Task)
