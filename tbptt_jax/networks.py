"""Models that are there: a recurrent cell with a linear readout, and one of five plain functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tbptt_jax.cells import CELLS, Cell, Layer, Stack, SummedLayer, step_of
from tbptt_jax.diagonal_cells import DIAGONAL_CELLS
from tbptt_jax.errors import UserError, choose, require_count
from tbptt_jax.leaves import floats, with_floats
from tbptt_jax.models import Model, Params, Solve, State

KNOWN_CELLS: dict[str, type[Cell]] = CELLS | DIAGONAL_CELLS


@dataclass(frozen=True)
class RNN(Model):
    """A recurrent cell with a linear readout o_t = W_qh h_t + b_q (no b_q where `bias` is False). Inputs take the
    type of the state, which is that of the weights; losses are of 32 bits at least."""

    cell: Cell
    outputs: int
    loss: Callable[[Array, Array], Array]
    bias: bool = True
    dtype: Any = None
    """Of the weights that `init` draws; None: the usual floats."""

    @property
    def summed_layer(self) -> SummedLayer | None:  # type: ignore[override]
        return self.cell if self.cell.summed else None  # type: ignore[return-value]

    def init(self, key: Array):
        cell_key, readout_key = jax.random.split(key)
        readout = {"W_qh": jax.random.normal(readout_key, (self.outputs, self.cell.hidden)) / self.cell.hidden**0.5}
        if self.bias:
            readout["b_q"] = jnp.zeros(self.outputs)
        params = {"cell": self.cell.init(cell_key), "readout": readout}
        return (
            params if self.dtype is None else with_floats(params, [leaf.astype(self.dtype) for leaf in floats(params)])
        )

    def initial_state(self, params: Params, batch_size: int):
        return self.cell.initial_state(params["cell"], batch_size)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return self.cell.draws

    def step(self, params: Params, state: PyTree, x: PyTree, key: Array | None = None):
        if self.cell.symbols:
            if not jnp.issubdtype(x.dtype, jnp.integer) or x.ndim != 1:
                raise UserError(f"inputs: whole numbers [T, B] are needed, got {x.dtype} of shape {['T', *x.shape]}")
            return step_of(self.cell, params["cell"], state, x, key)
        return step_of(self.cell, params["cell"], state, self.as_floats(state, x), key)

    def states_at_once(self, params: Params, start: PyTree, inputs: PyTree, solve: Solve):
        return self.cell.states_at_once(params["cell"], start, self.as_floats(start, inputs), solve)

    def as_floats(self, state: PyTree, x: Array) -> Array:
        """Inputs `[..., D]` that the cell reads, in the type of the state."""
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.shape[-1:] != (self.cell.inputs,):
            raise UserError(
                f"inputs: floats of shape [T, B, {self.cell.inputs}] are needed, got {x.dtype} of shape "
                f"{['T', *x.shape[-2:]]}. For symbols write jax.nn.one_hot(symbols, {self.cell.inputs})"
            )
        return x.astype(jnp.result_type(*floats(state)))

    def readout(self, params: Params, state: PyTree):
        weights = params["readout"]
        output = self.cell.output(state) @ weights["W_qh"].T
        return output + weights["b_q"] if self.bias else output

    def losses(self, output: PyTree, target: Array):
        return self.loss(output.astype(jnp.promote_types(output.dtype, jnp.float32)), target)


def rnn(
    cell: Any,
    inputs: int,
    hidden: int,
    outputs: int,
    loss: str | Callable = "softmax",
    layers: int = 1,
    *,
    radius: float | None = None,
    orthogonal: bool = False,
    dtype: Any = None,
) -> RNN:
    """A recurrent network with a linear readout.

    Args:
        cell: "linear", "tanh", "gru", "lstm", "lru", "elstm", "mingru", a `Cell` class or instance of your own, or any
            flax RNN cell (see `flax_cells`). Linear cells have no biases, as in the chapter.
        inputs: How many numbers a step reads.
        hidden: How many units a layer has.
        outputs: How many numbers the loss reads.
        loss: "softmax" (integer targets), "squared", "binary", or a function (output `[B, outputs]`, target) → `[B]`.
        layers: How many, one above the other.
        radius: The spectral radius of every recurrent matrix at initialisation; None: as drawn.
        orthogonal: Whether these are drawn orthogonal, with a radius of 1 unless that is given.
        dtype: That of the weights, such as `jnp.bfloat16`: states and credit have it too.

    Returns:
        The network, a Model.
    """
    inputs, hidden = require_count("inputs", inputs), require_count("hidden", hidden)
    outputs, layers = require_count("outputs", outputs), require_count("layers", layers)
    if dtype is not None:
        dtype = as_floats(dtype)
    loss = loss if callable(loss) else choose("loss", loss, LOSSES)
    made = make_cell(cell, inputs, hidden, layers, radius, orthogonal)
    return RNN(made, outputs, loss, made.bias, dtype)


def as_floats(dtype: Any) -> Any:
    """A type of floats that JAX makes as things are."""
    try:
        kind = jnp.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or not jnp.issubdtype(kind, jnp.floating):
        raise UserError(f"dtype: a type of floats is needed, such as jax.numpy.bfloat16, got {dtype!r}")
    if jax.dtypes.canonicalize_dtype(kind) != kind:
        raise UserError(f"dtype: {kind} needs jax.config.update('jax_enable_x64', True)")
    return kind


def make_cell(cell: Any, inputs: int, hidden: int, layers: int, radius: float | None, orthogonal: bool) -> Cell:
    """A cell by name or class, a cell that is there, or one around a flax cell; more than one layer makes a stack."""
    kind: Any = choose("cell", cell, KNOWN_CELLS) if isinstance(cell, str) else cell
    draws_its_own = not (isinstance(kind, type) and issubclass(kind, Layer))
    if draws_its_own and (radius is not None or orthogonal):
        raise UserError(f"radius, orthogonal: {cell!r} draws its own weights; give it an initializer instead")

    def build(width: int) -> Cell:
        if not draws_its_own:
            return kind(width, hidden, radius, orthogonal)
        if isinstance(kind, type) and issubclass(kind, Cell):
            return kind(width, hidden)  # type: ignore[call-arg]
        if not isinstance(kind, Cell):
            from tbptt_jax.flax_cells import wrap_flax_cell  # flax is slow to import and not needed by other cells

            return wrap_flax_cell(kind, width, hidden)
        if (kind.inputs, kind.hidden) != (width, hidden):
            raise UserError(f"inputs, hidden: the cell has {(kind.inputs, kind.hidden)}, got {(width, hidden)}")
        return kind

    return build(inputs) if layers == 1 else Stack(tuple(build(inputs if i == 0 else hidden) for i in range(layers)))


@dataclass(frozen=True)
class FunctionModel(Model):
    """A model of five plain functions; `model` makes one."""

    functions: tuple[Callable, Callable, Callable, Callable, Callable]

    def init(self, key: Array) -> Params:
        return self.functions[0](key)

    def initial_state(self, params: Params, batch_size: int) -> State:
        return self.functions[1](params, batch_size)

    def step(self, params: Params, state: State, x: PyTree) -> State:
        return self.functions[2](params, state, x)

    def readout(self, params: Params, state: State) -> PyTree:
        return self.functions[3](params, state)

    def losses(self, output: PyTree, target: PyTree) -> Array:
        return self.functions[4](output, target)


def model(init: Callable, initial_state: Callable, step: Callable, readout: Callable, losses: Callable) -> Model:
    """A Model of five plain functions.

    It is for estimators that go forward in time, which need a program's step and not its loop.

    Args:
        init: key → parameters.
        initial_state: (parameters, number of sequences B) → the state before the first step, leaves `[B, ...]`.
        step: (parameters, state, x) → the state after a step.
        readout: (parameters, state) → the output, leaves `[B, ...]`.
        losses: (output, target) → the losses `[B]`.

    Returns:
        The model.
    """
    functions = {"init": init, "initial_state": initial_state, "step": step, "readout": readout, "losses": losses}
    for name, function in functions.items():
        if not callable(function):
            raise UserError(f"{name}: a function is needed, got {function!r}")
    return FunctionModel((init, initial_state, step, readout, losses))


def softmax_loss(output: Float[Array, "B K"], target: Array) -> Float[Array, " B"]:
    """-log softmax(output)[target], in nats; the targets are whole numbers in 0..K-1, and any other gives NaN."""
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise UserError(f"targets: the softmax loss needs whole numbers, got {target.dtype}")
    same_shape(target, output.shape[:-1])
    chosen = jnp.take_along_axis(output, target[..., None], axis=-1, mode="fill")[..., 0]
    inside = (target >= 0) & (target < output.shape[-1])
    return jax.nn.logsumexp(output, axis=-1) - jnp.where(inside, chosen, jnp.nan)


def squared_loss(output: Float[Array, "B K"], target: Array) -> Float[Array, " B"]:
    """½ ‖output − target‖²."""
    same_shape(target, output.shape)
    return 0.5 * jnp.sum((output - target) ** 2, axis=-1)


def binary_loss(output: Float[Array, "B K"], target: Array) -> Float[Array, " B"]:
    """Cross-entropy of K independent binary targets in [0, 1], the outputs being log-odds; summed over K, in nats."""
    same_shape(target, output.shape)
    return jnp.sum(jax.nn.softplus(output) - target * output, axis=-1)


LOSSES = {"softmax": softmax_loss, "squared": squared_loss, "binary": binary_loss}


def same_shape(target: Array, shape: tuple[int, ...]):
    if target.shape != shape:
        raise UserError(f"targets: shape {['T', *shape]} is needed by this loss, got {['T', *target.shape]}")
