"""Any flax recurrent cell, unchanged: `flax.linen` cells, and `flax.nnx` cells as a class or as an instance.

    tb.rnn(linen.GRUCell(features=64), inputs=28, hidden=64, outputs=28)
    tb.rnn(nnx.GRUCell, inputs=28, hidden=64, outputs=28)                            # model.init draws its weights
    tb.rnn(nnx.GRUCell(28, 64, rngs=nnx.Rngs(0)), inputs=28, hidden=64, outputs=28)  # model.init returns its weights

A flax step returns (carry, output), and a readout here sees the state alone. In every common cell the output is one of
the carry's leaves: `position` says which. Where it is none of them, the output is kept in the state beside the carry.

An nnx cell may draw (dropout), where it has the key of a training step; it is evaluated in its `eval` mode. A cell
whose first layer is an embedding reads whole numbers `[T, B]`.
"""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import errors as linen_errors
from flax import linen, nnx
from jaxtyping import Array, PyTree

from tbptt_jax.cells import Cell
from tbptt_jax.errors import UserError


@dataclass(frozen=True)
class FlaxCell(Cell):
    """What both flax APIs share; a subclass says how to draw weights, start a carry and take a step."""

    inputs: int
    hidden: int
    position: int | None
    symbols: bool = field(default=False, kw_only=True)  # type: ignore[misc]

    @abstractmethod
    def start(self, params: Any, batch_size: int) -> Any: ...

    @abstractmethod
    def apply(self, params: Any, carry: Any, x: Any, key: Array | None) -> tuple[Any, Any]: ...

    def like_input(self, batch_size: int) -> jax.ShapeDtypeStruct:
        """What a step reads."""
        if self.symbols:
            return jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return jax.ShapeDtypeStruct((batch_size, self.inputs), jnp.float32)

    def initial_state(self, params: Any, batch_size: int):
        carry = self.start(params, batch_size)
        if self.position is not None:
            return carry
        return carry, jnp.zeros((batch_size, self.hidden), jax.tree.leaves(params)[0].dtype)

    def step(self, params: Any, state: PyTree, x: PyTree, key: Array | None = None):
        if self.position is not None:
            return self.apply(params, state, x, key)[0]
        return self.apply(params, state[0], x, key)

    def output(self, state: PyTree):
        return state[1] if self.position is None else jax.tree.leaves(state)[self.position]


@dataclass(frozen=True)
class LinenCell(FlaxCell):
    module: linen.Module

    def init(self, key: Array):
        like = self.like_input(1)
        return self.module.init(key, self.start({}, 1), jnp.zeros(like.shape, like.dtype))

    def start(self, params: Any, batch_size: int):
        return self.module.initialize_carry(jax.random.key(0), self.like_input(batch_size).shape)

    def apply(self, params: Any, carry: PyTree, x: PyTree, key: Array | None):
        return self.module.apply(params, carry, x)


@dataclass(frozen=True)
class NNXCell(FlaxCell):
    source: Any  # the class, or an instance that holds its weights
    graph: Any = None
    counters: tuple = ()
    """Where, beside its weights, it holds what it draws by: paths and kinds."""

    @property
    def draws(self):  # type: ignore[override]
        return bool(self.counters)

    def build(self, key: Array):
        return (
            self.source
            if isinstance(self.source, nnx.Module)
            else self.source(self.inputs, self.hidden, rngs=nnx.Rngs(key))
        )

    def init(self, key: Array):
        return nnx.to_pure_dict(nnx.split(self.build(key), nnx.Param, ...)[1])

    def module(self, params: Any, key: Array | None):
        """The cell with these weights, drawing by the key; without one it draws nothing."""
        if not self.draws:
            return nnx.merge(self.graph, nnx.State(params))
        keys = jax.random.split(jax.random.key(0) if key is None else key, len(self.counters))
        fresh = [
            (path, keys[i] if issubclass(kind, nnx.RngKey) else jnp.uint32(0))
            for i, (path, kind) in enumerate(self.counters)
        ]
        module = nnx.merge(self.graph, nnx.State(params), nnx.from_flat_state(fresh))
        if key is None:
            module.eval()
        return module

    def start(self, params: Any, batch_size: int):
        return self.module(params, None).initialize_carry(self.like_input(batch_size).shape, nnx.Rngs(0))

    def apply(self, params: Any, carry: PyTree, x: PyTree, key: Array | None):
        return self.module(params, key)(carry, x)


def wrap_flax_cell(cell: Any, inputs: int, hidden: int) -> Cell:
    """The cell that a flax module is: a cell, an RNN of one, or a `functools.partial` of an nnx class."""
    if isinstance(cell, linen.RNN | nnx.RNN):
        if cell.reverse or not isinstance(cell.cell, linen.RNNCellBase | nnx.RNNCellBase):
            raise UserError(
                f"cell: an RNN that runs forward over one cell is needed, got {type(cell).__name__}; or cut the loss "
                "that calls it: tb.truncate(loss, Segment(16))"
            )
        cell = cell.cell
    if isinstance(cell, linen.Module):
        return fitted_to_its_inputs(LinenCell(inputs, hidden, None, cell))
    kind = cell.func if isinstance(cell, partial) else cell
    if isinstance(kind, nnx.Module) or (isinstance(kind, type) and issubclass(kind, nnx.Module)):
        plain = NNXCell(inputs, hidden, None, cell)
        graph, _, *others = nnx.split(nnx.eval_shape(plain.build, jax.random.key(0)), nnx.Param, ...)
        counters = tuple((path, type(leaf)) for path, leaf in nnx.to_flat_state(others[0]))
        changed = ", ".join(sorted({kind.__name__ for _, kind in counters if not issubclass(kind, nnx.RngState)}))
        if changed:
            raise UserError(
                f"cell: one whose only state is its carry is needed, this one also changes {changed}; cut "
                "the loss that calls it: tb.truncate(loss, Segment(16))"
            )
        return fitted_to_its_inputs(replace(plain, graph=graph, counters=counters))
    raise UserError(
        f"cell: a name, a Cell, a flax.linen cell or a flax.nnx cell (class or instance) is needed, got {cell!r}"
    )


def fitted_to_its_inputs(cell: FlaxCell) -> FlaxCell:
    """The cell for numbers; for symbols, where its first layer refuses numbers."""
    try:
        return locate_output(cell)
    except linen_errors.InvalidRngError as error:
        raise UserError(
            "cell: a linen cell that draws, such as one with dropout, does not say how to go on without; give it as a "
            "flax.nnx cell, or cut the loss that calls it: tb.truncate(loss, Segment(16))"
        ) from error
    except (TypeError, ValueError) as error:
        if "integer" not in str(error):
            raise
        return locate_output(replace(cell, symbols=True))


def locate_output(cell: FlaxCell) -> FlaxCell:
    """Find the carry's leaf that is the output, by tracing one step."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    step = jax.make_jaxpr(lambda params, x: cell.apply(params, cell.start(params, 1), x, None))(
        params, cell.like_input(1)
    )
    *carry, output = step.jaxpr.outvars
    if output.aval.shape != (1, cell.hidden):
        raise UserError(f"hidden: the cell's output has shape {output.aval.shape[1:]}, got hidden={cell.hidden}")
    same = [i for i, leaf in enumerate(carry) if leaf is output]
    return replace(cell, position=same[0] if same else None)
