"""Any flax recurrent cell, unchanged: `flax.linen` cells, and `flax.nnx` cells as a class or as an instance.

    tb.rnn(linen.GRUCell(features=64), inputs=28, hidden=64, outputs=28)
    tb.rnn(nnx.GRUCell, inputs=28, hidden=64, outputs=28)                            # model.init draws its weights
    tb.rnn(nnx.GRUCell(28, 64, rngs=nnx.Rngs(0)), inputs=28, hidden=64, outputs=28)  # model.init returns its weights

A flax step returns (carry, output), and a readout here sees the state alone. In every common cell the output is one of
the carry's leaves: `position` says which. Where it is none of them, the output is kept in the state beside the carry.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
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

    @abstractmethod
    def start(self, params: Any, batch_size: int) -> Any: ...

    @abstractmethod
    def apply(self, params: Any, carry: Any, x: Any) -> tuple[Any, Any]: ...

    def initial_state(self, params: Any, batch_size: int):
        carry = self.start(params, batch_size)
        if self.position is not None:
            return carry
        return carry, jnp.zeros((batch_size, self.hidden), jax.tree.leaves(params)[0].dtype)

    def step(self, params: Any, state: PyTree, x: PyTree):
        if self.position is not None:
            return self.apply(params, state, x)[0]
        return self.apply(params, state[0], x)

    def output(self, state: PyTree):
        return state[1] if self.position is None else jax.tree.leaves(state)[self.position]


@dataclass(frozen=True)
class LinenCell(FlaxCell):
    module: linen.Module

    def init(self, key: Array):
        return self.module.init(key, self.start({}, 1), jnp.zeros((1, self.inputs)))

    def start(self, params: Any, batch_size: int):
        return self.module.initialize_carry(jax.random.key(0), (batch_size, self.inputs))

    def apply(self, params: Any, carry: PyTree, x: PyTree):
        return self.module.apply(params, carry, x)


@dataclass(frozen=True)
class NNXCell(FlaxCell):
    source: Any  # the class, or an instance that holds its weights
    graph: Any = None

    def build(self, key: Array):
        return (
            self.source
            if isinstance(self.source, nnx.Module)
            else self.source(self.inputs, self.hidden, rngs=nnx.Rngs(key))
        )

    def init(self, key: Array):
        return nnx.to_pure_dict(nnx.split(self.build(key), nnx.Param, ...)[1])

    def module(self, params: Any):
        return nnx.merge(self.graph, nnx.State(params))

    def start(self, params: Any, batch_size: int):
        return self.module(params).initialize_carry((batch_size, self.inputs), nnx.Rngs(0))

    def apply(self, params: Any, carry: PyTree, x: PyTree):
        return self.module(params)(carry, x)


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
        return locate_output(LinenCell(inputs, hidden, None, cell))
    kind = cell.func if isinstance(cell, partial) else cell
    if isinstance(kind, nnx.Module) or (isinstance(kind, type) and issubclass(kind, nnx.Module)):
        plain = NNXCell(inputs, hidden, None, cell)
        graph, _ = nnx.split(nnx.eval_shape(plain.build, jax.random.key(0)))
        return locate_output(replace(plain, graph=graph))
    raise UserError(
        f"cell: a name, a Cell, a flax.linen cell or a flax.nnx cell (class or instance) is needed, got {cell!r}"
    )


def locate_output(cell: FlaxCell) -> FlaxCell:
    """Find the carry's leaf that is the output, by tracing one step."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, cell.inputs), jnp.float32)
    step = jax.make_jaxpr(lambda params, x: cell.apply(params, cell.start(params, 1), x))(params, x)
    *carry, output = step.jaxpr.outvars
    if output.aval.shape != (1, cell.hidden):
        raise UserError(f"hidden: the cell's output has shape {output.aval.shape[1:]}, got hidden={cell.hidden}")
    same = [i for i, leaf in enumerate(carry) if leaf is output]
    return replace(cell, position=same[0] if same else None)
