"""`truncate`: any JAX function with the derivative of its loops cut; its values are the same.

The function's jaxpr is run again, operation by operation, but a chosen `lax.scan` runs as a cut scan. Programs inside
it (jit, remat, cond, shard_map, vmapped and nested scans) are run the same way, and keep what they are: a remat
recomputes, a branch is a branch. A loop within a `custom_jvp` or `custom_vjp` is not entered, since its derivative is a
rule that does not come from the loop.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from tbptt_jax.errors import UserError
from tbptt_jax.gradients.cuts.kinds import Cut
from tbptt_jax.gradients.cuts.scan import in_order, require_truncation, scan_with_cut, states_before, truncation_cut
from tbptt_jax.jax_internals import Jaxpr, JaxprEqn, Literal, bind_again, manual_axes, scan_parts, while_parts
from tbptt_jax.leaves import is_key
from tbptt_jax.programs.loops import choose_loops, count_loops, is_array, loops_of


def truncate(
    function: Any,
    truncation: Any,
    *,
    key: Array | None = None,
    where: Any = None,
    batch_axis: int | None = None,
) -> Callable:
    """The same function, with the derivative of its loops cut.

    `jax.grad`, `jax.jvp` and all else of the result are those of the cut program. What the function changes in a
    flax.nnx module among its arguments is changed there.

    Args:
        function: Any function that JAX can trace, such as a loss.
        truncation: A truncating estimator.
        key: For one that draws at random; it may be traced. Every loop has a draw of its own.
        where: Which loops are cut: a length, a part of a name scope or of a place in the source ("model.py:12"), or a
            function of the entries that `scans(function)(*args)` lists. None: all outermost scans that carry
            floating-point numbers.
        batch_axis: The axis of everything that is carried along which sequences lie side by side: gates are drawn for
            each of them.

    Returns:
        The function.
    """
    if not callable(function):
        raise UserError(f"truncate: a function is needed, got {function!r:.80}")
    require_truncation(truncation)

    def cut(index: int, length: int, carry: Sequence, xs: Sequence, before: Callable[[], Any]) -> Cut:
        own = None if key is None else jax.random.fold_in(key, index)
        return truncation_cut(truncation, own, length, carry, xs, before, batch_axis)

    def truncated(*args: Any, **kwargs: Any) -> Any:
        call = Call(function, args, kwargs)
        program = jax.make_jaxpr(call.flat)(*call.arrays)
        chosen = {loop.number for loop in choose_loops(loops_of(program.jaxpr), where)}
        run = Rerun(chosen, cut)
        return call.result(run.jaxpr(program.jaxpr, program.consts, call.arrays, 0))

    return truncated


class Call:
    """A call as a function of its arrays alone; other leaves of arguments and results are constants of the program."""

    def __init__(self, function: Callable, args: tuple, kwargs: dict):
        self.function, self.given = function, (args, kwargs)
        self.leaves, self.structure = jax.tree.flatten(self.given)
        self.places = [i for i, leaf in enumerate(self.leaves) if is_array(leaf)]
        self.arrays = [as_array(self.leaves[i]) for i in self.places]

    def flat(self, *arrays: Any) -> list:
        """The arrays among the results, and those among the arguments that the function has changed."""
        before = self.with_leaves(self.places, arrays)
        args, kwargs = jax.tree.unflatten(self.structure, before)
        results, self.results_structure = jax.tree.flatten(self.function(*args, **kwargs))
        after = jax.tree.leaves((args, kwargs))
        if len(after) != len(before):
            raise UserError("truncate: the function changes the structure of its arguments, which would be lost")
        self.changed = [i for i, (a, b) in enumerate(zip(after, before)) if a is not b]
        self.results = [None if is_array(leaf) else leaf for leaf in results]
        return [leaf for leaf in results if is_array(leaf)] + [after[i] for i in self.changed]

    def with_leaves(self, places: Sequence[int], values: Sequence) -> list:
        """The leaves of the arguments, some of them replaced."""
        leaves = list(self.leaves)
        for i, value in zip(places, values):
            leaves[i] = value
        return leaves

    def result(self, arrays: list) -> Any:
        """The results as the function gives them; what it changed in its arguments is changed there."""
        count = len(arrays) - len(self.changed)
        if self.changed:
            after = jax.tree.unflatten(self.structure, self.with_leaves(self.changed, arrays[count:]))
            write_back(self.given, after)
        rest = iter(arrays[:count])
        leaves = [next(rest) if leaf is None else leaf for leaf in self.results]
        return jax.tree.unflatten(self.results_structure, leaves)


def write_back(given: Any, after: Any) -> None:
    """Bring the modules and variables among the arguments to the state that the function left them in."""
    from flax import nnx  # the only common pytrees that a function can change

    def can_change(node: Any) -> bool:
        return isinstance(node, nnx.Module | nnx.Variable)

    for old, new in zip(*(jax.tree.leaves(tree, is_leaf=can_change) for tree in (given, after))):
        if isinstance(old, nnx.Module):
            nnx.update(old, nnx.state(new))
        elif isinstance(old, nnx.Variable):
            old.set_value(new.get_value())
        elif old is not new:
            raise UserError(
                f"truncate: the function changes an argument that is no nnx module or variable: {type(old).__name__}"
            )


def as_array(leaf: Any) -> Any:
    """A NumPy array as one of JAX's; keys as they are."""
    return leaf if isinstance(leaf, jax.Array) and is_key(leaf) else jnp.asarray(leaf)


class Rerun:
    """Runs a jaxpr again, some loops, by their numbers, as cut scans: `cut(index, length, carry, xs, before)` says how.

    `first` is always the number of the first loop of what is run, so that nothing needs to be remembered.
    """

    def __init__(self, chosen: set[int], cut: Callable[..., Cut]):
        self.chosen, self.cut = chosen, cut

    def jaxpr(self, jaxpr: Jaxpr, consts: Sequence, arguments: Sequence, first: int) -> list:
        """All operations, one after the other."""
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments)))

        def value(variable: Any) -> Any:
            return variable.val if isinstance(variable, Literal) else values[variable]

        for equation in jaxpr.eqns:
            loops = count_loops(equation)
            if self.chosen.intersection(range(first, first + loops)):
                results = self.equation(equation, list(map(value, equation.invars)), first)
            else:
                results = bind_again(jaxpr, equation, values)
            values.update(zip(equation.outvars, results))
            first += loops
        return list(map(value, jaxpr.outvars))

    def closed(self, closed: Any, first: int) -> Callable[..., list]:
        """A program as a function."""
        return lambda *arguments: self.jaxpr(closed.jaxpr, closed.consts, arguments, first)

    def equation(self, equation: JaxprEqn, inputs: list, first: int) -> Sequence:
        """An operation with a chosen loop in it, or which is one."""
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            return self.scan(equation, inputs, first)
        if name == "while":
            return self.while_loop(params, inputs, first)
        if name == "cond":
            branches = []
            for branch in params["branches"]:
                branches.append(self.closed(branch, first))
                first += sum(map(count_loops, branch.jaxpr.eqns))
            return lax.switch(inputs[0], branches, *inputs[1:])
        inner = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
        if name in ("remat2", "checkpoint"):
            body = partial(self.jaxpr, inner, ())
            again = jax.checkpoint(
                lambda *arguments: body(arguments, first), prevent_cse=params["prevent_cse"], policy=params["policy"]
            )
            return again(*inputs)
        if name == "shard_map":
            specs = {side: tuple(params[side]) for side in ("in_specs", "out_specs")}
            body = partial(self.jaxpr, inner, ())
            mapped = jax.shard_map(
                lambda *arguments: tuple(body(arguments, first)),
                mesh=params["mesh"],
                axis_names=manual_axes(equation),
                check_vma=params["check_vma"],
                **specs,
            )
            return mapped(*inputs)
        return self.closed(inner, first)(*inputs)

    def scan(self, equation: JaxprEqn, inputs: list, first: int) -> Sequence:
        """A scan, cut if it is chosen."""
        params = equation.params
        fixed, carried = scan_parts(equation)
        consts, init, xs = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]

        def body(carry: list, x: list) -> tuple[list, list]:
            results = self.closed(params["jaxpr"], first + 1)(*consts, *carry, *x)
            return results[:carried], results[carried:]

        order = {"length": params["length"], "reverse": params["reverse"]}
        before = partial(states_before, body, init, xs, **order)
        read = in_order(xs, params["reverse"])
        is_cut = first in self.chosen and params["length"] > 0
        cut = self.cut(first, params["length"], init, read, before) if is_cut else None
        order["unroll"] = params["unroll"]
        run = lax.scan if cut is None else partial(scan_with_cut, cut=cut)
        final, ys = run(body, init, xs, **order)
        return [*final, *ys]

    def while_loop(self, params: Any, inputs: list, first: int) -> Sequence:
        """A loop of unknown length around a chosen one."""
        loop = while_parts(params, inputs)
        loops = sum(map(count_loops, loop.condition.jaxpr.eqns))
        return lax.while_loop(
            lambda state: self.closed(loop.condition, first + 1)(*loop.of_condition, *state)[0],
            lambda state: self.closed(loop.body, first + 1 + loops)(*loop.of_body, *state),
            loop.state,
        )
