"""Every name of JAX's that is not among its documented ones, in one place: what a new version of JAX may move.

`pyproject.toml` bounds JAX above for the sake of this file.
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, jaxpr_as_fun, jaxprs_in_params
from jax.interpreters import ad, batching, mlir
from jax.interpreters.partial_eval import dce_jaxpr

__all__ = [
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "Var",
    "ad",
    "batching",
    "dce_jaxpr",
    "depends_on",
    "is_traced",
    "jaxpr_as_fun",
    "jaxprs_in_params",
    "mlir",
    "varying_axes",
    "without_prints",
]


def is_traced(value: Any) -> bool:
    """Whether a value is not known yet, since the program that it is part of is being traced."""
    return isinstance(value, jax.core.Tracer)


def varying_axes(leaf: Any) -> tuple[str, ...]:
    """The axes of a `shard_map` over whose devices a leaf varies."""
    return tuple(jax.typeof(leaf).manual_axis_type.varying)


def without_prints(jaxpr: Jaxpr) -> Jaxpr:
    """A jaxpr without the operations that put nothing out and are there for their effects alone, as `jax.debug.print`
    is."""
    kept = [equation for equation in jaxpr.eqns if equation.outvars or not equation.effects]
    return jaxpr.replace(eqns=kept) if len(kept) < len(jaxpr.eqns) else jaxpr


def depends_on(jaxpr: Jaxpr, inputs: list[Var]) -> Iterator[bool]:
    """For each output of a jaxpr, whether it is computed from any of these inputs."""
    reached = set(inputs)

    def is_reached(variable: Any) -> bool:
        return not isinstance(variable, Literal) and variable in reached

    for equation in jaxpr.eqns:
        if any(map(is_reached, equation.invars)):
            reached.update(equation.outvars)
    return map(is_reached, jaxpr.outvars)
