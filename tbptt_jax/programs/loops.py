"""The loops of a JAX program, found in its jaxpr: how long they are, what they carry, and where they stand."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import numpy as np

from tbptt_jax.errors import UserError
from tbptt_jax.jax_internals import Jaxpr, JaxprEqn, jaxprs_in_params, place_of, scan_parts

# operations whose programs are run as they stand, so that a loop in them can be cut
TRANSPARENT = {"jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "cond", "shard_map"}


class Loop(NamedTuple):
    """One loop of a program."""

    number: int
    kind: str
    """"scan", or "while" for one whose number of turns depends on data."""
    length: int | None
    carry: tuple[str, ...]
    """The type and shape of each leaf that goes from turn to turn."""
    source: str
    """File, line and function."""
    scope: str
    """The name scopes in which it stands, joined by slashes."""
    outermost: bool
    """Whether no loop around it carries floating-point numbers."""
    obstacle: str
    """Why its derivative cannot be cut; "" where it can be."""

    @property
    def carries_floats(self) -> bool:
        """Whether credit can flow through it."""
        return any(leaf.startswith(("float", "bfloat", "complex")) for leaf in self.carry)


class Loops(tuple[Loop, ...]):
    """The loops of a program, printed as a table."""

    def __str__(self) -> str:
        head = ("", "loop", "turns", "carries", "where", "scope")
        rows = [
            (
                str(loop.number),
                loop.kind if not loop.obstacle else f"{loop.kind}, cannot be cut: {loop.obstacle}",
                "?" if loop.length is None else str(loop.length),
                " ".join(loop.carry) or "nothing",
                loop.source,
                loop.scope,
            )
            for loop in self
        ]
        if not rows:
            return "there are no loops"
        widths = [max(map(len, column)) for column in zip(head, *rows)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows))

    __repr__ = __str__


def scans(function: Callable) -> Callable[..., Loops]:
    """`scans(function)(*args)`: the loops that a call of a function runs through; nothing is computed.

    Args:
        function: Any function that JAX can trace.

    Returns:
        A function of the same arguments that gives the list of loops.
    """

    def found(*args: Any, **kwargs: Any) -> Loops:
        leaves, rebuild = jax.tree.flatten((args, kwargs))
        arrays = [i for i, leaf in enumerate(leaves) if is_array(leaf)]

        def flat(*given: Any) -> list:
            own = list(leaves)
            for i, leaf in zip(arrays, given):
                own[i] = leaf
            args, kwargs = jax.tree.unflatten(rebuild, own)
            return [leaf for leaf in jax.tree.leaves(function(*args, **kwargs)) if is_array(leaf)]

        return loops_of(jax.make_jaxpr(flat)(*(leaves[i] for i in arrays)).jaxpr)

    return found


def is_array(leaf: Any) -> bool:
    """Whether a leaf is traced. All else is a constant of the program: a text, a function, and Python's own numbers,
    since a flag or a length may say which way the program goes."""
    numbers = isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "OSUMm"  # objects, texts and times
    return numbers or isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)


def loops_of(jaxpr: Jaxpr) -> Loops:
    """All loops, in the order in which they are met; one in the body of another comes after it."""
    found: list[Loop] = []

    def walk(jaxpr: Jaxpr, scopes: tuple[str, ...], outermost: bool, obstacle: str) -> None:
        for equation in jaxpr.eqns:
            source, scope = place_of(equation)
            inside = (*scopes, scope) if scope else scopes
            name = equation.primitive.name
            if name in ("scan", "while"):
                carry = tuple(map(written, carried(equation)))
                why = obstacle or ("how often it turns depends on data" if name == "while" else "")
                length = equation.params.get("length")
                loop = Loop(len(found), name, length, carry, source, "/".join(inside), outermost, why)
                found.append(loop)
                for inner in jaxprs_in_params(equation.params):
                    walk(inner, inside, outermost and not loop.carries_floats, obstacle)
                continue
            has_its_own = "" if name in TRANSPARENT else f"it stands in {name}, which has a derivative of its own"
            for inner in jaxprs_in_params(equation.params):
                walk(inner, inside, outermost, obstacle or has_its_own)

    walk(jaxpr, (), True, "")
    return Loops(found)


def count_loops(equation: JaxprEqn) -> int:
    """How many loops an operation is or holds."""
    own = equation.primitive.name in ("scan", "while")
    return own + sum(count_loops(e) for jaxpr in jaxprs_in_params(equation.params) for e in jaxpr.eqns)


def carried(equation: JaxprEqn) -> Sequence[Any]:
    """The types of what a loop carries from turn to turn."""
    if equation.primitive.name == "while":
        return [variable.aval for variable in equation.outvars]
    return [variable.aval for variable in equation.outvars[: scan_parts(equation)[1]]]


def written(aval: Any) -> str:
    return f"{aval.dtype}[{','.join(map(str, aval.shape))}]"


def choose_loops(loops: Loops, where: Any) -> list[Loop]:
    """Those to be cut: all outermost ones that carry floats, or those that `where` names."""
    if where is None:
        chosen = [loop for loop in loops if loop.kind == "scan" and loop.outermost and loop.carries_floats]
    else:
        chosen = [loop for loop in loops if matches(loop, where)]
    asked = "a scan that carries floating-point numbers" if where is None else f"where={where!r}"
    if not chosen:
        raise UserError(f"truncate: {asked} matches no loop of the program.\n{loops}")
    for loop in chosen:
        if loop.obstacle or not loop.carries_floats:
            why = loop.obstacle or "it carries no floating-point numbers"
            raise UserError(f"truncate: loop {loop.number} cannot be cut: {why}. Choose others by where=.\n{loops}")
    return chosen


def matches(loop: Loop, where: Any) -> bool:
    """By length, by a part of its scope or of its place in the source, or by a function of the loop."""
    if isinstance(where, bool) or not (isinstance(where, Integral | str) or callable(where)):
        raise UserError(f"truncate: where must be a length, a text or a function of a Loop, got {where!r}")
    if isinstance(where, Integral):
        return loop.length == where
    if isinstance(where, str):
        return where in loop.scope or where in loop.source
    return bool(where(loop))
