"""The gradient estimators: `base`, one file a method, and the `registry` that knows them by name.

The package is also the function that its public name promises: `tbptt_jax.estimators()` gives every registered class.
"""

import sys
from types import ModuleType


class _Estimators(ModuleType):
    def __call__(self):
        from tbptt_jax.estimators import registry

        return registry.estimators()


sys.modules[__name__].__class__ = _Estimators
