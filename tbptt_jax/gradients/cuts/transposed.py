"""A linear map that knows its own transpose, as one operation of JAX.

JAX transposes a linear program operation by operation. Where a better order of computation is known for the way back,
this operation holds both ways: `push` on tangents and `pull` on cotangents, each linear, and each the transpose of the
other. Both are ordinary JAX programs of residuals on which they depend in any way, so that derivatives of every order
follow. Each is traced once for arguments of the same types: the types of its results, their values and what is compiled
all come from the one program.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from tbptt_jax.jax_internals import ClosedJaxpr, Primitive, ad, batching, is_traced, jaxpr_as_fun, mlir

linear_p = Primitive("linear_with_transpose")
linear_p.multiple_results = True


def linear(push: Callable, pull: Callable, residuals: PyTree, tangents: PyTree) -> PyTree:
    """`push(residuals, tangents)`, whose transpose is `pull(residuals, cotangents)`.

    Tangents and cotangents are pytrees of floats; `pull` gives a cotangent for each leaf of the tangents.
    """
    residual_leaves, residual_tree = jax.tree.flatten(residuals)
    tangent_leaves, tangent_tree = jax.tree.flatten(tangents)
    count = len(residual_leaves)
    out_tree: Any = None

    def pushed(*arguments: Any) -> list:
        nonlocal out_tree
        own, moving = jax.tree.unflatten(residual_tree, arguments[:count]), arguments[count:]
        leaves, out_tree = jax.tree.flatten(push(own, jax.tree.unflatten(tangent_tree, moving)))
        return leaves

    def pulled(*arguments: Any) -> list:
        own, credit = jax.tree.unflatten(residual_tree, arguments[:count]), arguments[count:]
        return jax.tree.leaves(pull(own, jax.tree.unflatten(out_tree, credit)))

    there, back = Once(pushed), Once(pulled)
    out = linear_p.bind(*residual_leaves, *tangent_leaves, there=there, back=back, count=count)
    return jax.tree.unflatten(out_tree, out)


class Once:
    """A function of arrays that gives a list of them, traced once for arguments of the same types."""

    def __init__(self, function: Callable):
        self.function = function
        self.programs: dict[tuple, ClosedJaxpr] = {}

    def traced(self, *types: Any) -> ClosedJaxpr:
        """Its program for arguments of these types."""
        if types not in self.programs:
            self.programs[types] = jax.make_jaxpr(self.function)(*types)
        return self.programs[types]

    def __call__(self, *arguments: Any) -> list:
        if not all(map(is_traced, arguments)):  # what is known stays known, such as the turns of a loop
            return self.function(*arguments)
        return jaxpr_as_fun(self.traced(*map(jax.typeof, arguments)))(*arguments)


def program(*arguments: Any, there: Once, back: Once, count: int) -> list:
    """What the operation computes."""
    return there(*arguments)


def abstract(*avals: Any, there: Once, back: Once, count: int) -> list:
    """The types of what it computes."""
    return there.traced(*avals).out_avals


def jvp(primals: Sequence, tangents: Sequence, *, there: Once, back: Once, count: int) -> tuple[list, list]:
    """Linear in the tangents that it carries; by the derivative of its program in the residuals."""
    out = linear_p.bind(*primals, there=there, back=back, count=count)
    moved = [ad.Zero(jax.typeof(leaf).to_tangent_aval()) for leaf in out]
    if not all(isinstance(t, ad.Zero) for t in tangents[count:]):
        carried = map(ad.instantiate_zeros, tangents[count:])
        moved = linear_p.bind(*primals[:count], *carried, there=there, back=back, count=count)
    moving = [i for i in range(count) if not isinstance(tangents[i], ad.Zero)]
    if moving:

        def at(*residuals: Any) -> list:
            arguments = list(primals)
            for i, leaf in zip(moving, residuals):
                arguments[i] = leaf
            return there(*arguments)

        _, by_residuals = jax.jvp(at, [primals[i] for i in moving], [tangents[i] for i in moving])
        moved = [ad.add_tangents(a, b) for a, b in zip(moved, by_residuals)]
    return out, moved


def transpose(cotangents: Sequence, *arguments: Any, there: Once, back: Once, count: int) -> list:
    """The same operation, the other way round."""
    carried = map(ad.instantiate_zeros, cotangents)
    pulled = linear_p.bind(*arguments[:count], *carried, there=back, back=there, count=count)
    unknown = map(ad.is_undefined_primal, arguments[count:])
    return [None] * count + [bar if wanted else None for bar, wanted in zip(pulled, unknown)]


def batch(axis: Any, arguments: Sequence, dims: Sequence, *, there: Once, back: Once, count: int) -> Any:
    """Side by side; what has no such axis is shared, and on the way back it gets the sum over all."""
    if all(dim is None for dim in dims):
        out = linear_p.bind(*arguments, there=there, back=back, count=count)
        return out, [None] * len(out)
    front = [leaf if dim is None else jnp.moveaxis(leaf, dim, 0) for leaf, dim in zip(arguments, dims)]
    axes = [None if dim is None else 0 for dim in dims]
    name: Any = {"axis_name": axis.name} if isinstance(axis.name, str) else {}
    side_by_side: Any = partial(jax.vmap, axis_size=axis.size, **name)

    def all_there(*arguments: Any) -> list:
        return side_by_side(there, axes)(*arguments)

    def all_back(*arguments: Any) -> list:
        bars = side_by_side(back, (*axes[:count], *[0] * (len(arguments) - count)))(*arguments)
        return [jnp.sum(bar, axis=0) if place is None else bar for bar, place in zip(bars, axes[count:])]

    out = linear_p.bind(*front, there=Once(all_there), back=Once(all_back), count=count)
    return out, [0] * len(out)


linear_p.def_impl(program)
linear_p.def_abstract_eval(abstract)
ad.primitive_jvps[linear_p] = jvp
ad.primitive_transposes[linear_p] = transpose
batching.fancy_primitive_batchers[linear_p] = batch
mlir.register_lowering(linear_p, mlir.lower_fun(program, multiple_results=True))
