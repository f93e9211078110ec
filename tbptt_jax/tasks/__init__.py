"""The tasks: `base`, one file a task, and the `registry` that knows them by name.

The package is also a function, as `estimators` is: `tbptt_jax.tasks()` gives every registered class.
"""

import sys
from types import ModuleType


class _Tasks(ModuleType):
    def __call__(self):
        from tbptt_jax.tasks import registry

        return registry.tasks()


sys.modules[__name__].__class__ = _Tasks
