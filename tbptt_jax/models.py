"""The model of the chapter: h_t = f(x_t, h_{t-1}, w), o_t = g(h_t, w), l(o_t, y_t).

A `Model` holds no parameters; it says how to make them and how to use them. Everything else in the package
(estimators, analysis, training) reaches a recurrent model through these five methods alone, and runs it over a sequence
by `unroll`.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.cells import CELLS, Cell, Layer, Stack, SummedLayer
from tbptt_jax.errors import UserError, choose

Params: TypeAlias = Any  # a pytree of arrays
State: TypeAlias = Any  # a pytree of arrays


class Batch(NamedTuple):
    """Sequences side by side, time first: inputs and targets `[T, B, ...]`, weights `[T, B]` (None: 1 everywhere).

    Where `resets` `[T, B]` is true an episode begins: the state before that step is the initial one, and no credit
    crosses. A sequence that is shorter than its batch is padded by steps of weight 0; a burn-in is that at its start.
    """

    inputs: PyTree
    targets: PyTree
    weights: Array | None = None
    resets: Array | None = None


@dataclass(frozen=True)
class Model(ABC):
    """A recurrent model; subclass it as a frozen dataclass with hashable fields. States and outputs are batched."""

    summed_layer: ClassVar[Any] = None
    """The `SummedLayer` that the step is, where it is one and all parameters that the step reads are that layer's; it
    may be a property. A class that writes another step loses it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__ and "summed_layer" not in cls.__dict__:
            cls.summed_layer = None

    @abstractmethod
    def init(self, key: Array) -> Params:
        """Parameters drawn with a key."""

    @abstractmethod
    def initial_state(self, params: Params, batch_size: int) -> State:
        """The state h_0 before the first step, every leaf `[B, ...]`. It is data: no credit flows into it."""

    @abstractmethod
    def step(self, params: Params, state: State, x: PyTree) -> State:
        """h_t = f(x_t, h_{t-1}, w)."""

    @abstractmethod
    def readout(self, params: Params, state: State) -> PyTree:
        """o_t = g(h_t, w)."""

    @abstractmethod
    def losses(self, output: PyTree, target: PyTree) -> Array:
        """l(o_t, y_t), one number a sequence: `[B]`."""


@dataclass(frozen=True)
class RNN(Model):
    """A recurrent cell with a linear readout o_t = W_qh h_t + b_q (no b_q where `bias` is False)."""

    cell: Cell
    outputs: int
    loss: Callable[[Array, Array], Array]
    bias: bool = True

    @property
    def summed_layer(self) -> SummedLayer | None:  # type: ignore[override]
        return self.cell if self.cell.summed else None  # type: ignore[return-value]

    def init(self, key: Array):
        cell_key, readout_key = jax.random.split(key)
        readout = {"W_qh": jax.random.normal(readout_key, (self.outputs, self.cell.hidden)) / self.cell.hidden**0.5}
        if self.bias:
            readout["b_q"] = jnp.zeros(self.outputs)
        return {"cell": self.cell.init(cell_key), "readout": readout}

    def initial_state(self, params: Params, batch_size: int):
        return self.cell.initial_state(params["cell"], batch_size)

    def step(self, params: Params, state: PyTree, x: PyTree):
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.shape[-1:] != (self.cell.inputs,):
            raise UserError(
                f"inputs: floats of shape [T, B, {self.cell.inputs}] are needed, got {x.dtype} of shape "
                f"{['T', *x.shape]}. For symbols write jax.nn.one_hot(symbols, {self.cell.inputs})"
            )
        return self.cell.step(params["cell"], state, x)

    def readout(self, params: Params, state: PyTree):
        weights = params["readout"]
        output = self.cell.output(state) @ weights["W_qh"].T
        return output + weights["b_q"] if self.bias else output

    def losses(self, output: PyTree, target: Array):
        return self.loss(output, target)


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
) -> RNN:
    """A recurrent network: `cell` is "linear", "tanh", "gru", "lstm", a `Cell` class or instance of your own, or any
    flax RNN cell (see `flax_cells`).

    `radius` sets the spectral radius of every recurrent matrix at initialisation; `orthogonal` draws it orthogonal
    (radius 1 unless given). `loss` is "softmax" (integer targets), "squared", "binary" or a function
    (output `[B, outputs]`, target) -> `[B]`. The linear model has no biases, as in the chapter.
    """
    for name, value in (("inputs", inputs), ("hidden", hidden), ("outputs", outputs), ("layers", layers)):
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name}: a whole number of at least 1 is needed, got {value!r}")
    loss = loss if callable(loss) else choose("loss", loss, LOSSES)
    made = make_cell(cell, inputs, hidden, layers, radius, orthogonal)
    return RNN(made, outputs, loss, bias=made.bias)


def make_cell(cell: Any, inputs: int, hidden: int, layers: int, radius: float | None, orthogonal: bool) -> Cell:
    """A cell by name or class, a cell that is there, or one around a flax cell; more than one layer makes a stack."""
    kind: Any = choose("cell", cell, CELLS) if isinstance(cell, str) else cell
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
    """A Model of five plain functions, with the arguments of its methods: for estimators that go forward in time, which
    need a program's step and not its loop."""
    functions = {"init": init, "initial_state": initial_state, "step": step, "readout": readout, "losses": losses}
    for name, function in functions.items():
        if not callable(function):
            raise UserError(f"{name}: a function is needed, got {function!r}")
    return FunctionModel((init, initial_state, step, readout, losses))


def softmax_loss(output: Float[Array, "B K"], target: Array) -> Float[Array, "B"]:
    """-log softmax(output)[target], in nats; the targets are whole numbers in 0..K-1, and any other gives NaN."""
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise UserError(f"targets: the softmax loss needs whole numbers, got {target.dtype}")
    same_shape(target, output.shape[:-1])
    chosen = jnp.take_along_axis(output, target[..., None], axis=-1, mode="fill")[..., 0]
    inside = (target >= 0) & (target < output.shape[-1])
    return jax.nn.logsumexp(output, axis=-1) - jnp.where(inside, chosen, jnp.nan)


def squared_loss(output: Float[Array, "B K"], target: Array) -> Float[Array, "B"]:
    """½ ‖output − target‖²."""
    same_shape(target, output.shape)
    return 0.5 * jnp.sum((output - target) ** 2, axis=-1)


def binary_loss(output: Float[Array, "B K"], target: Array) -> Float[Array, "B"]:
    """Cross-entropy of K independent binary targets in [0, 1], the outputs being log-odds; summed over K, in nats."""
    same_shape(target, output.shape)
    return jnp.sum(jax.nn.softplus(output) - target * output, axis=-1)


LOSSES = {"softmax": softmax_loss, "squared": squared_loss, "binary": binary_loss}


def same_shape(target: Array, shape: tuple[int, ...]):
    if target.shape != shape:
        raise UserError(f"targets: shape {['T', *shape]} is needed by this loss, got {['T', *target.shape]}")


@dataclass(frozen=True)
class Resetting(Model):
    """A model whose inputs say where it starts anew: (x, 1.0 where the state before this step is the initial one)."""

    model: Model

    def init(self, key: Array) -> Params:
        return self.model.init(key)

    def initial_state(self, params: Params, batch_size: int) -> State:
        return self.model.initial_state(params, batch_size)

    def step(self, params: Params, state: State, x: PyTree) -> State:
        x, resets = x
        initial = lax.stop_gradient(self.model.initial_state(params, resets.shape[0]))

        def start_anew(leaf: Array, first: Array) -> Array:
            anew = resets.reshape(-1, *[1] * (leaf.ndim - 1))
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return jnp.where(anew > 0, first, leaf)
            anew = anew.astype(leaf.dtype)
            return leaf * (1 - anew) + first * anew  # a product: from drawn inputs it is seen what depends on what

        return self.model.step(params, jax.tree.map(start_anew, state, initial), x)

    def readout(self, params: Params, state: State) -> PyTree:
        return self.model.readout(params, state)

    def losses(self, output: PyTree, target: PyTree) -> Array:
        return self.model.losses(output, target)


@dataclass(frozen=True)
class Stopping(Model):
    """A model that stands still where its inputs say so: (x, whether this is a step of the sequence `[B]`)."""

    model: Model

    def init(self, key: Array):
        return self.model.init(key)

    def initial_state(self, params: Params, batch_size: int):
        return self.model.initial_state(params, batch_size)

    def step(self, params: Params, state: PyTree, x: PyTree):
        x, going = x
        return jax.tree.map(
            lambda new, old: jnp.where(going.reshape(-1, *[1] * (new.ndim - 1)), new, old),
            self.model.step(params, state, x),
            state,
        )

    def readout(self, params: Params, state: PyTree):
        return self.model.readout(params, state)

    def losses(self, output: PyTree, target: PyTree):
        return self.model.losses(output, target)


def takes_resets(function: Callable) -> Callable:
    """A function of a model and a batch, by these names, which need not think of the batch's resets: the model does."""
    signature = inspect.signature(function)

    @wraps(function)
    def with_resets(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        model: Any
        model, batch = (given.arguments.get(name) for name in ("model", "batch"))
        if not isinstance(batch, Batch) or batch.resets is None:
            return function(*args, **kwargs)
        sequence_shape(batch)
        given.arguments["model"] = Resetting(model)
        given.arguments["batch"] = batch._replace(inputs=(batch.inputs, batch.resets * 1.0), resets=None)
        return function(*given.args, **given.kwargs)

    return with_resets


def loss(model: Model, params: Params, batch: Batch) -> Array:
    """L = Σ weights · l / Σ weights over whole sequences that start from the model's initial state.

    Its `jax.grad` is full backpropagation through time. Where all weights are zero the loss is 0; a NaN in the data
    is never hidden: it makes the loss NaN.
    """
    _, batch_size = sequence_shape(batch)
    start = lax.stop_gradient(model.initial_state(params, batch_size))
    return chunk_loss(model, params, start, batch)[0]


@takes_resets
def chunk_loss(
    model: Model, params: Params, start: State, batch: Batch, scan: Callable = lax.scan
) -> tuple[Array, State]:
    """The loss of a chunk from a state, and the state after it; for `scan` see `unroll`."""
    final, states = unroll(model, params, start, batch.inputs, scan)
    return loss_of_states(model, params, states, batch), final


@takes_resets
def chunk_loss_step_by_step(
    model: Model, params: Params, start: State, batch: Batch, scan: Callable = lax.scan
) -> tuple[Array, State]:
    """The same, each step's loss read out as the step is made: no more than a loss is left of a state."""

    def step(state: State, x_and_target: PyTree) -> tuple[State, Array]:
        x, target = x_and_target
        state = model.step(params, state, x)
        return state, model.losses(model.readout(params, state), target)

    final, losses = scan(step, start, (batch.inputs, batch.targets))
    return weighted_mean(checked_losses(model, losses, batch), batch.weights), final


def unroll(
    model: Model, params: Params, start: State, inputs: PyTree, scan: Callable = lax.scan
) -> tuple[State, State]:
    """The forward pass: the last state, and the states after all steps `[T, B, ...]`.

    `scan(step, start, inputs)` is `lax.scan` or one that lets less credit back."""

    def step(state: State, x: PyTree) -> tuple[State, State]:
        state = model.step(params, state, x)
        return state, state

    return scan(step, start, inputs)


def loss_of_states(model: Model, params: Params, states: State, batch: Batch) -> Array:
    """The loss when the states h_1..h_T `[T, B, ...]` are known: the readout of all steps at once."""
    outputs = jax.vmap(model.readout, in_axes=(None, 0))(params, states)
    losses = jax.vmap(model.losses)(outputs, batch.targets)
    return weighted_mean(checked_losses(model, losses, batch), batch.weights)


def checked_losses(model: Model, losses: Array, batch: Batch) -> Array:
    """The losses, which must be one a step and sequence."""
    length, batch_size = sequence_shape(batch)
    if losses.shape != (length, batch_size):
        raise UserError(f"{type(model).__name__}.losses: shape [B] = [{batch_size}] is needed, got {losses.shape[1:]}")
    return losses


def weighted_mean(losses: Float[Array, "T B"], weights: Array | None) -> Array:
    """Σ weights · losses / Σ weights; 0 where all weights are zero, as in a chunk before the only loss."""
    if weights is None:
        return jnp.mean(losses)
    total = jnp.sum(weights)
    return jnp.sum(weights * losses) / jnp.where(total == 0, 1, total)


def sequence_shape(batch: Batch) -> tuple[int, int]:
    """(T, B) of a batch, after a check that inputs, targets and weights agree on it."""
    if not isinstance(batch, Batch):
        raise UserError(f"batch: a Batch(inputs, targets) of arrays [T, B, ...] is needed, got {batch!r:.80}")
    shapes = {name: [jnp.shape(leaf) for leaf in jax.tree.leaves(part)] for name, part in batch._asdict().items()}
    if not shapes["inputs"]:
        raise UserError("inputs: at least one array [T, B, ...] is needed, got none")
    length, batch_size = (*shapes["inputs"][0], 0, 0)[:2]
    if not length or not batch_size:
        raise UserError(f"inputs: shape [T, B, ...] with T and B at least 1 is needed, got {shapes['inputs'][0]}")
    for name, found in shapes.items():
        for shape in found:
            flat = name in ("weights", "resets")
            if shape[:2] != (length, batch_size) or (flat and len(shape) != 2):
                wanted = f"[{length}, {batch_size}]" if flat else f"[{length}, {batch_size}, ...]"
                raise UserError(f"{name}: shape {wanted} is needed to match the inputs, got {list(shape)}")
    if batch.resets is not None and not jnp.issubdtype(jnp.result_type(batch.resets), jnp.bool_):
        kind = jnp.result_type(batch.resets)
        raise UserError(f"resets: booleans are needed, true where an episode begins, got {kind}")
    return length, batch_size
