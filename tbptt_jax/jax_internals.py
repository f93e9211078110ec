"""Every name of JAX's that is not among its documented ones, in one place: what a new version of JAX may move.

`pyproject.toml` bounds JAX above for the sake of this file.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, jaxpr_as_fun, jaxprs_in_params
from jax.extend.source_info_util import summarize
from jax.interpreters import ad, batching, mlir
from jax.interpreters.partial_eval import dce_jaxpr

OWN_FOLDER = str(Path(__file__).parent)

__all__ = [
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "Var",
    "ad",
    "batching",
    "bind_again",
    "dce_jaxpr",
    "depends_on",
    "is_traced",
    "jaxpr_as_fun",
    "jaxprs_in_params",
    "manual_axes",
    "mlir",
    "only",
    "parted",
    "place_of",
    "scan_parts",
    "share_contexts",
    "transposes_side_by_side",
    "varying_axes",
    "while_parts",
    "without_prints",
]


def is_traced(value: Any) -> bool:
    """Whether a value is not known yet, since the program that it is part of is being traced."""
    return isinstance(value, jax.core.Tracer)


def varying_axes(leaf: Any) -> tuple[str, ...]:
    """The axes of a `shard_map` over whose devices a leaf varies."""
    return tuple(jax.typeof(leaf).manual_axis_type.varying)


def place_of(equation: JaxprEqn) -> tuple[str, str]:
    """Where an operation stands in the user's own source, not in that of an installed package, and in which scopes."""
    info = equation.source_info
    frames: Any = info.traceback.frames if info.traceback is not None else ()
    for frame in frames:
        if not any(part in frame.file_name for part in ("site-packages", "dist-packages", OWN_FOLDER, "<frozen")):
            return f"{Path(frame.file_name).name}:{frame.line_num} ({frame.function_name})", str(info.name_stack)
    return summarize(info), str(info.name_stack)


def bind_again(jaxpr: Jaxpr, equation: JaxprEqn, values: Mapping[Var, Any]) -> list:
    """The results of one operation of a jaxpr, for these values of the variables."""
    inputs = list(dict.fromkeys(variable for variable in equation.invars if not isinstance(variable, Literal)))
    alone = jaxpr.replace(
        constvars=[],
        invars=inputs,
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
        debug_info=None,
    )
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*(values[variable] for variable in inputs))


def manual_axes(equation: JaxprEqn) -> set[str]:
    """The axes of the mesh that a `shard_map` spreads its program over; JAX has had two names for them."""
    params = equation.params
    return set(params["newly_manual_axes"] if "newly_manual_axes" in params else params["manual_axes"])


def scan_parts(equation: JaxprEqn) -> tuple[int, int]:
    """Of a `scan`, how many inputs are the same for all turns, and how many are carried.

    JAX's own names for these counts change; what is stacked has one axis more outside the body than inside."""
    body = equation.params["jaxpr"].jaxpr

    def stacked(outside: Sequence, inside: Sequence) -> int:
        return sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(outside, inside))

    carried = len(equation.outvars) - stacked(equation.outvars, body.outvars)
    return len(equation.invars) - carried - stacked(equation.invars, body.invars), carried


class While(NamedTuple):
    """The parts of a `while_loop`: its two programs, the constants of each, and the state that it starts from."""

    condition: ClosedJaxpr
    body: ClosedJaxpr
    of_condition: Sequence
    of_body: Sequence
    state: Sequence


def while_parts(params: Mapping[str, Any], inputs: Sequence) -> While:
    end = params["cond_nconsts"] + params["body_nconsts"]
    of_condition, of_body = inputs[: params["cond_nconsts"]], inputs[params["cond_nconsts"] : end]
    return While(params["cond_jaxpr"], params["body_jaxpr"], of_condition, of_body, inputs[end:])


def without_prints(jaxpr: Jaxpr) -> Jaxpr:
    """A jaxpr without the operations that put nothing out and are there for their effects alone, as `jax.debug.print`
    is."""
    kept = [equation for equation in jaxpr.eqns if equation.outvars or not equation.effects]
    return jaxpr.replace(eqns=kept) if len(kept) < len(jaxpr.eqns) else jaxpr


def only(part: int, function: Callable, *arguments: Any) -> Any:
    """One part of what a function gives, and nothing done for the others."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure = jax.tree.structure(shapes[part])
    first, size = (len(jax.tree.leaves(some)) for some in (shapes[:part], shapes[part]))
    wanted = range(first, first + size)
    small, used = dce_jaxpr(closed.jaxpr, [i in wanted for i in range(len(closed.jaxpr.outvars))])
    leaves = [leaf for leaf, is_used in zip(jax.tree.leaves(arguments), used) if is_used]
    return jax.tree.unflatten(structure, jaxpr_as_fun(ClosedJaxpr(small, closed.consts))(*leaves))


def parted(closed: ClosedJaxpr, count: int) -> tuple[Callable, Callable]:
    """A program in two: what it computes of its first `count` inputs alone, `before(*first)`, a list; and the rest,
    `after(before, *inputs)`."""
    jaxpr = closed.jaxpr
    known = set(jaxpr.invars[:count]) | set(jaxpr.constvars)
    early: list[JaxprEqn] = []
    late: list[JaxprEqn] = []
    for equation in jaxpr.eqns:
        variables = [variable for variable in equation.invars if not isinstance(variable, Literal)]
        is_early = bool(variables) and known.issuperset(variables) and not equation.effects
        (early if is_early else late).append(equation)
        if is_early:
            known.update(equation.outvars)
    used = {variable for equation in late for variable in equation.invars if not isinstance(variable, Literal)}
    used.update(variable for variable in jaxpr.outvars if not isinstance(variable, Literal))
    made = [variable for equation in early for variable in equation.outvars if variable in used]
    first = jaxpr.replace(invars=jaxpr.invars[:count], eqns=early, outvars=made, effects=set(), debug_info=None)
    last = jaxpr.replace(invars=[*made, *jaxpr.invars], eqns=late, debug_info=None)
    before, after = (jaxpr_as_fun(ClosedJaxpr(part, closed.consts)) for part in (first, last))
    return before, lambda held, *inputs: after(*held, *inputs)


def transposes_side_by_side(jaxpr: Jaxpr) -> bool:
    """Whether the derivative of many runs of a program can be transposed as one: not where a part of it has a rule of
    its own for the way back (`jax.custom_vjp`), or branches, which side by side are chosen from."""
    return not any(
        equation.primitive.name.startswith(("custom_vjp_call", "cond"))
        or not all(map(transposes_side_by_side, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def depends_on(jaxpr: Jaxpr, inputs: list[Var]) -> Iterator[bool]:
    """For each output of a jaxpr, whether it is computed from any of these inputs."""
    reached = set(inputs)

    def is_reached(variable: Any) -> bool:
        return not isinstance(variable, Literal) and variable in reached

    for equation in jaxpr.eqns:
        if any(map(is_reached, equation.invars)):
            reached.update(equation.outvars)
    return map(is_reached, jaxpr.outvars)


def program(function: Callable, *arguments: Any) -> tuple[str, bytes]:
    """A function's program as text, and the digest of the constants that it holds, which the text does not show."""
    closed = jax.make_jaxpr(function)(*arguments)
    whole = hashlib.sha256()
    waiting: list[Any] = [closed]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, Jaxpr):
            waiting += [parameter for equation in value.eqns for parameter in equation.params.values()]
        elif isinstance(value, ClosedJaxpr):
            waiting += [value.jaxpr]
            for constant in value.consts:
                is_key = jax.dtypes.issubdtype(getattr(constant, "dtype", float), jax.dtypes.prng_key)
                whole.update(np.asarray(jax.random.key_data(constant) if is_key else constant).tobytes())
    return str(closed), whole.digest()


def share_contexts() -> None:
    """Lower all programs to come in one and the same context of the compiler's. A new one for each takes a tenth of the
    time of many tiny programs, as those of tests are. It does nothing where JAX is of another version."""
    if not jax.__version__.startswith("0.10."):
        return
    from jax._src.interpreters import mlir as lowering

    new, shared = lowering.make_ir_context, cache(lowering.make_ir_context)
    lowering.make_ir_context = lambda: shared() if lowering.ir.Context.current is None else new()  # within one: its own
