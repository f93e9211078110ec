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
    "AllCases",
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "Undecided",
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


CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint")
CHOOSING = ("select_n", "clamp", "max", "min", "reduce_max", "reduce_min", "cond")
STEPPING = ("floor", "ceil", "round", "sign")
LOOKING_UP = ("gather", "dynamic_slice", "dynamic_update_slice", "sort", "top_k", "argsort")
SOMEWHERE = 0.37
"""A number between the two that a flag can be, or between whole ones."""


class Undecided(Exception):
    """What depends on what is not seen: a loop chooses within, or numbers say what is looked up."""


def chooses(jaxpr: Jaxpr) -> bool:
    """Whether a program holds an operation whose derivative by some numbers is not that by others."""
    return any(
        equation.primitive.name in (*CHOOSING, *STEPPING, *LOOKING_UP)
        or equation.primitive.name.startswith("scatter")
        or becomes_float(equation)
        or any(map(chooses, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def becomes_float(equation: JaxprEqn) -> bool:
    """Whether an operation makes floats of flags or whole numbers."""
    if equation.primitive.name != "convert_element_type":
        return False
    before, after = (variable.aval.dtype for variable in (equation.invars[0], equation.outvars[0]))  # type: ignore[attr-defined]
    return not jax.numpy.issubdtype(before, jax.numpy.inexact) and jax.numpy.issubdtype(after, jax.numpy.inexact)


class AllCases:
    """A function run for the sake of its derivatives, with all that it may choose among: where it takes one of several
    cases, this takes their weighted sum, or by chance one, as `key` says; a flag or a whole number that it computes
    with is a number between. It is the function itself where that chooses nothing: `is_needed` says so."""

    def __init__(self, function: Callable, *arguments: Any):
        self.closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        self.structure = jax.tree.structure(shapes)
        self.is_needed = chooses(self.closed.jaxpr)

    def __call__(self, key: Any, *arguments: Any) -> Any:
        self.key, self.choices = key, 0
        results = self.run(self.closed.jaxpr, self.closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(self.structure, results)

    def run(self, jaxpr: Jaxpr, consts: Sequence, arguments: Sequence) -> list:
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments)))

        def value(variable: Any) -> Any:
            return variable.val if isinstance(variable, Literal) else values[variable]

        known = {
            variable for variable, const in zip(jaxpr.constvars, consts) if not is_traced(const)
        }  # as it always is
        for equation in jaxpr.eqns:
            given = [variable for variable in equation.invars if not isinstance(variable, Literal)]
            if known.issuperset(given):
                known.update(equation.outvars)
                values.update(zip(equation.outvars, bind_again(jaxpr, equation, values)))
                continue
            name = equation.primitive.name
            if name.startswith("scatter") or (name in LOOKING_UP and not known.issuperset(given[1:])) or name == "sort":
                raise Undecided
            results = bind_again(jaxpr, equation, values)
            cases = self.cases(equation, list(map(value, equation.invars)), results)
            values.update(zip(equation.outvars, map(self.mixed, results, cases)))
        return list(map(value, jaxpr.outvars))

    def cases(self, equation: JaxprEqn, inputs: list, results: list) -> list[list]:
        """For each result of an operation, what it may be; [] for what is as it is."""
        name, params = equation.primitive.name, equation.params
        if name in ("select_n", "clamp", "max", "min"):
            return [inputs[1:] if name == "select_n" else inputs]
        if name in ("reduce_max", "reduce_min"):
            return [[inputs[0].sum(params["axes"]), results[0]]]
        if name in STEPPING or becomes_float(equation):
            return [[results[0] + SOMEWHERE]]
        if name == "cond":
            branches = [self.run(branch.jaxpr, branch.consts, inputs[1:]) for branch in params["branches"]]
            return list(map(list, zip(*branches)))
        inner = list(jaxprs_in_params(params))
        has_own_rule = name.startswith(("custom_jvp_call", "custom_vjp_call"))  # which may say more than its program
        if name in CALLS or has_own_rule:
            closed = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            program, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
            within = self.run(program, consts, inputs)
            return [[one, result] if has_own_rule else [one] for one, result in zip(within, results)]
        if any(map(chooses, inner)):
            raise Undecided
        return [[] for _ in results]

    def mixed(self, result: Any, cases: list) -> Any:
        """All that a result may be, if it is a float: the sum, with weights that do not cancel, or one of them."""
        if not cases or not jax.numpy.issubdtype(jax.numpy.result_type(result), jax.numpy.inexact):
            return result
        self.choices += 1
        of_all_key, one_key = jax.random.split(jax.random.fold_in(self.key, self.choices))
        chosen = jax.nn.one_hot(jax.random.randint(one_key, (), 0, len(cases)), len(cases))
        weights = jax.numpy.where(
            jax.random.bernoulli(of_all_key), 1 + 0.618 * np.arange(len(cases)) if len(cases) > 1 else 1.0, chosen
        )
        total = sum(
            jax.numpy.where(weight == 0, 0, weight * case)  # what is infinite and not chosen is nothing
            for weight, case in zip(weights, cases)
        )
        return jax.numpy.broadcast_to(total, result.shape).astype(result.dtype)


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
