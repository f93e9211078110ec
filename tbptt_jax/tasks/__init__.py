"""The tasks, one file each, and their index: a task is known everywhere by its line here."""

from tbptt_jax.tasks.a_n_b_n import AnBn as AnBn
from tbptt_jax.tasks.adding import Adding as Adding
from tbptt_jax.tasks.agreement import Agreement as Agreement
from tbptt_jax.tasks.base import Task as Task
from tbptt_jax.tasks.brackets import Brackets as Brackets
from tbptt_jax.tasks.by_name import all_tasks as all_tasks
from tbptt_jax.tasks.by_name import make_task as make_task
from tbptt_jax.tasks.copying import Copy as Copy
from tbptt_jax.tasks.delayed_sum import DelayedSum as DelayedSum
from tbptt_jax.tasks.influence_balancing import InfluenceBalancing as InfluenceBalancing
from tbptt_jax.tasks.mimic import Mimic as Mimic
from tbptt_jax.tasks.recall import Recall as Recall
from tbptt_jax.tasks.text import Text as Text
from tbptt_jax.tasks.text import TimeMachine as TimeMachine

__all__ = [name for name, value in vars().items() if callable(value)]  # not the modules
