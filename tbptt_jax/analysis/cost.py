"""What an estimate costs: floating-point operations, memory, and how many steps must wait for one another.

XLA's own analysis counts the body of a loop once, whatever its length. Here the program is walked as a jaxpr: a loop
counts as often as it turns, and what is written twice counts once, since the compiler computes it once. No number is
computed but those on which the turns of a loop depend.
"""

from collections.abc import Callable
from functools import cache, cached_property, partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from tbptt_jax.analysis.of_loss import Loss, fitted
from tbptt_jax.estimators.base import Estimator
from tbptt_jax.gradients.cuts.transposed import linear_p
from tbptt_jax.jax_internals import (
    ClosedJaxpr,
    Literal,
    dce_jaxpr,
    jaxpr_as_fun,
    jaxprs_in_params,
    scan_parts,
    while_parts,
)
from tbptt_jax.models import Batch, Model, Params, sequence_shape

# they move numbers, or draw them; every other primitive counts one operation for each number that it puts out
FREE = {
    *("reshape", "broadcast_in_dim", "transpose", "squeeze", "slice", "dynamic_slice", "gather", "concatenate", "pad"),
    *("dynamic_update_slice", "rev", "convert_element_type", "select_n", "iota", "copy", "stop_gradient", "split"),
    *("random_wrap", "random_unwrap", "random_bits", "random_split", "random_fold_in", "random_seed", "threefry2x32"),
    *("bitcast_convert_type", "shift_left", "shift_right_logical", "and", "or", "xor", "not", "eq", "ne", "lt", "le"),
    *("gt", "ge", "is_finite", "expand_dims", "optimization_barrier", "pvary", "name"),
}


class Cost(NamedTuple):
    """Of one estimate on one batch, as compiled for this machine."""

    flops: int
    """Arithmetic operations; a transcendental function counts as one, drawing random numbers as none."""
    temporary_bytes: int
    """The memory that the compiled program holds besides its arguments and results."""
    output_bytes: int
    states: int | None
    """How many states of the model are kept at once, at most, for the backward pass; None for a loss of one's own."""
    depth: int
    """Turns of loops that must wait for one another, on the longest path through the program."""


def cost(est: Estimator, model: Model | Loss, params: Params, batch: Batch | PyTree, key: Array | None = None) -> Cost:
    """What one chunk costs, as compiled for this machine, the estimator's numbers being constants of the program.

    Args:
        est: The estimator.
        model: A Model, or a function `loss(params, batch)`, whose loops a truncating estimator cuts.
        params: The parameters.
        batch: One chunk, of which only shapes and types count.
        key: For estimators that draw; None: any.

    Returns:
        Operations, bytes, states and depth.
    """
    est = fitted(est, model)
    key = jax.random.key(0) if key is None else key
    params, batch = jax.tree.map(filled, (params, batch))

    def estimate(params, batch, key):
        carry = est.init(model, params, batch, key)
        return est(model, params, carry, batch, key)

    memory: Any = jax.jit(estimate).lower(params, batch, key).compile().memory_analysis()
    flops, depth = count(estimate, params, batch, key)
    states = est.states_alive(sequence_shape(batch)[0]) if isinstance(model, Model) else None
    return Cost(flops, memory.temp_size_in_bytes, memory.output_size_in_bytes, states, depth)


def filled(leaf: Any) -> Any:
    """An array in the place of one of which only the shape is given."""
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


def count(function: Callable, *arguments: Any) -> tuple[int, int]:
    """(operations, depth) of a function on these arguments, what its result does not need left out."""
    arguments = jax.tree.map(jnp.asarray, arguments)  # one object, one value
    _, flops, depth = walk_needed(function, arguments, {})
    return flops, depth


class Later:
    """A number of the program that is computed when the turns of a loop depend on it, and else not at all."""

    def __init__(self, shape: Any, compute: Callable[[], Any]):
        self.shape = shape
        self.compute = compute

    @cached_property
    def value(self) -> Any:
        return self.compute()


def now(number: Any) -> Any:
    return number.value if isinstance(number, Later) else number


def shape_of(number: Any) -> Any:
    return number.shape if isinstance(number, Later) else number


def walk_needed(function: Callable, arguments: Any, done: dict) -> tuple[list, int, int]:
    """`walk` of a function, what its result does not need left out."""
    program = jax.make_jaxpr(function)(*jax.tree.map(shape_of, arguments))
    jaxpr, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars), instantiate=True)
    return walk(jaxpr, map(jnp.asarray, program.consts), jax.tree.leaves(arguments), done)


def walk(jaxpr: Any, consts: Any, arguments: Any, done: dict | None = None) -> tuple[list, int, int]:
    """Go through a jaxpr and count: (results, operations, depth)."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments)))
    depths: dict = {}
    flops = 0
    done = {} if done is None else done  # what was met before, by what it is computed from

    def look_up(variable, known, otherwise):
        return otherwise(variable) if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        inputs = [look_up(v, values, lambda literal: literal.val) for v in equation.invars]
        before = max((depths.get(v, 0) for v in equation.invars if not isinstance(v, Literal)), default=0)
        results, operations, turns = step(equation, inputs, done)
        flops += operations
        for variable, result in zip(equation.outvars, results):
            values[variable] = result
            depths[variable] = before + turns
    results = [look_up(v, values, lambda literal: literal.val) for v in jaxpr.outvars]
    return results, flops, max((depths.get(v, 0) for v in jaxpr.outvars if not isinstance(v, Literal)), default=0)


def step(equation: Any, inputs: Any, done: dict) -> tuple[list, int, int]:
    """One equation: (results, operations, depth that it adds)."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return scan(equation, inputs)
    if name == "while":
        return while_loop(params, inputs)
    if name == "cond":
        branch = params["branches"][int(now(inputs[0]))]
        return walk(branch.jaxpr, branch.consts, inputs[1:], done)
    if equation.primitive is linear_p:
        return walk_needed(params["there"], inputs, done)
    inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
    if inner is not None:
        closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
        return walk(closed.jaxpr, closed.consts, inputs, done)
    same = (name, repr(params), *(id(x) if isinstance(x, jax.Array | Later) else repr(x) for x in inputs))
    if same in done:
        return done[same][1], 0, 0
    results = results_of(equation, inputs)
    done[same] = inputs, results  # the inputs too, so that no id is used again
    return results, operations(equation), 0


def results_of(equation: Any, inputs: Any) -> list:
    """What an equation gives, later."""

    @cache
    def all_at_once() -> Any:
        results = equation.primitive.bind(*map(now, inputs), **equation.params)
        return results if equation.primitive.multiple_results else [results]

    def one(i: int, aval: Any) -> Later:
        shape = jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
        return Later(shape, lambda: all_at_once()[i])

    return [one(i, variable.aval) for i, variable in enumerate(equation.outvars)]


def scan(equation: Any, inputs: Any):
    """All turns of a scan cost the same, unless there is a `while` or a `cond` in it, which depend on data."""
    params = equation.params
    body, length = params["jaxpr"], params["length"]
    fixed, carried = scan_parts(equation)

    def of_turn(turn: int, variable: Any, stacked: Any) -> Later:
        shape = jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype)
        return Later(shape, lambda: now(stacked)[turn])

    state, results = inputs[fixed : fixed + carried], results_of(equation, inputs)
    alike = not depends_on_data(body.jaxpr)
    flops = depth = 0
    for turn in reversed(range(length)) if params["reverse"] else range(length):
        xs = map(partial(of_turn, turn), body.jaxpr.invars[fixed + carried :], inputs[fixed + carried :])
        state, turn_flops, turn_depth = walk(body.jaxpr, body.consts, [*inputs[:fixed], *state, *xs])
        if alike:
            return results, length * turn_flops, length * max(1, turn_depth)
        state = list(map(now, state[:carried]))
        flops, depth = flops + turn_flops, depth + max(1, turn_depth)
    return results, flops, depth


def while_loop(params: Params, inputs: Any):
    loop = while_parts(params, list(map(now, inputs)))
    state, flops, depth = loop.state, 0, 0
    goes_on = jaxpr_as_fun(loop.condition)
    while bool(goes_on(*loop.of_condition, *state)[0]):
        state, turn_flops, turn_depth = walk(loop.body.jaxpr, loop.body.consts, [*loop.of_body, *state])
        state = list(map(now, state))
        flops, depth = flops + turn_flops, depth + max(1, turn_depth)
    return state, flops, depth


def depends_on_data(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name in ("while", "cond") or any(map(depends_on_data, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def operations(equation: Any) -> int:
    name, shapes = equation.primitive.name, [v.aval.shape for v in equation.invars]
    if name == "dot_general":
        (left, _), _ = equation.params["dimension_numbers"]
        return 2 * prod(equation.outvars[0].aval.shape) * prod(shapes[0][axis] for axis in left)
    if name.startswith(("reduce_", "arg", "cum", "sort")):
        return prod(shapes[0])
    if name.startswith("scatter"):
        return 0 if name == "scatter" else prod(shapes[-1])
    return 0 if name in FREE else sum(prod(v.aval.shape) for v in equation.outvars)
