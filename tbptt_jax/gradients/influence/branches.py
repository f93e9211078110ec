"""Which derivatives of a program are 0 whatever its numbers: seen at random points, in all that it may choose among."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tbptt_jax.jax_internals import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    bind_again,
    is_traced,
    jaxprs_in_params,
)

CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint")
CHOOSING = ("select_n", "clamp", "max", "min", "reduce_max", "reduce_min", "cond")
STEPPING = ("floor", "ceil", "round", "sign")
LOOKING_UP = {"gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2}
"""And at which of their inputs the places begin that are looked up."""
IN_ORDER = ("sort", "top_k")
SOMEWHERE = 0.37
"""A number between the two that a flag can be, or between whole ones."""


class Undecided(Exception):
    """What depends on what is not seen: a loop chooses within, or numbers say what is looked up."""


def seen_by(function: Callable, argnums: Any, key: Array, *arguments: Array) -> PyTree:
    """Where derivatives of a function are not 0, at these arguments and whatever it chooses there."""
    every = AllCases(function, *arguments)
    ways: list[Callable] = [function, partial(every, key)] if every.is_needed else [function]
    slopes = [jax.jacrev(way, argnums)(*arguments) for way in ways]
    return jax.tree.map(lambda *leaves: jnp.any(jnp.stack([leaf != 0 for leaf in leaves]), axis=0), *slopes)


class AllCases:
    """A function run for the sake of its derivatives, with all that it may choose among: where it takes one of several
    cases, this takes their weighted sum, or by chance one, as a key says; a flag or a whole number that it computes
    with is a number between. Where it chooses nothing, this is not needed: `is_needed` says so."""

    def __init__(self, function: Callable, *arguments: Any):
        self.closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        self.structure = jax.tree.structure(shapes)
        self.is_needed = chooses(self.closed.jaxpr)

    def __call__(self, key: Array, *arguments: Any) -> PyTree:
        self.key, self.choices = key, 0
        results = self.run(self.closed.jaxpr, self.closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(self.structure, results)

    def run(self, jaxpr: Jaxpr, consts: Sequence, arguments: Sequence) -> list:
        """All operations, one after the other; those on constants alone are as they are."""
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments)))
        known = {variable for variable, const in zip(jaxpr.constvars, consts) if not is_traced(const)}

        def is_known(variable: Any) -> bool:
            return isinstance(variable, Literal) or variable in known

        for equation in jaxpr.eqns:
            results = bind_again(jaxpr, equation, values)
            if all(map(is_known, equation.invars)):
                known.update(equation.outvars)
            else:
                if equation.primitive.name in IN_ORDER or not all(map(is_known, places_of(equation))):
                    raise Undecided
                inputs = [one.val if isinstance(one, Literal) else values[one] for one in equation.invars]
                results = list(map(self.mixed, results, self.cases(equation, inputs, results)))
            values.update(zip(equation.outvars, results))
        return [one.val if isinstance(one, Literal) else values[one] for one in jaxpr.outvars]

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
        has_own_rule = name.startswith(("custom_jvp_call", "custom_vjp_call"))  # which may say more than its program
        if name in CALLS or has_own_rule:
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            program, consts = (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())
            within = self.run(program, consts, inputs)
            return [[one, result] if has_own_rule else [one] for one, result in zip(within, results)]
        if any(map(chooses, jaxprs_in_params(params))):
            raise Undecided
        return [[] for _ in results]

    def mixed(self, result: Any, cases: list) -> Any:
        """All that a result may be, if it is a float: the sum, with weights that do not cancel, or one of them."""
        if not cases or not jnp.issubdtype(jnp.result_type(result), jnp.inexact):
            return result
        if len(cases) == 1:
            return cases[0]
        self.choices += 1
        all_key, one_key = jax.random.split(jax.random.fold_in(self.key, self.choices))
        one = jax.nn.one_hot(jax.random.randint(one_key, (), 0, len(cases)), len(cases))
        weights = jnp.where(jax.random.bernoulli(all_key), 1 + 0.618 * np.arange(len(cases)), one)
        # what is infinite and not taken is nothing
        weighted = [jnp.where(weight == 0, 0, weight * case) for weight, case in zip(weights, cases)]
        return jnp.broadcast_to(sum(weighted), result.shape).astype(result.dtype)


def places_of(equation: JaxprEqn) -> Sequence:
    """The inputs of an operation that say where it looks something up, or puts something."""
    name = equation.primitive.name
    return equation.invars[1:2] if name.startswith("scatter") else equation.invars[LOOKING_UP.get(name, 1000) :]


def chooses(jaxpr: Jaxpr) -> bool:
    """Whether a program holds an operation whose derivative by some numbers is not that by others."""
    return any(
        equation.primitive.name in (*CHOOSING, *STEPPING, *IN_ORDER)
        or len(places_of(equation)) > 0
        or becomes_float(equation)
        or any(map(chooses, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def becomes_float(equation: JaxprEqn) -> bool:
    """Whether an operation makes floats of flags or whole numbers."""
    if equation.primitive.name != "convert_element_type":
        return False
    kinds = [variable.aval.dtype for variable in (equation.invars[0], equation.outvars[0])]  # type: ignore[attr-defined]
    return [jnp.issubdtype(kind, jnp.inexact) for kind in kinds] == [False, True]
