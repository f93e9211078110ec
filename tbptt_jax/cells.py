"""Recurrent cells in the chapter's notation: linear, tanh, GRU, LSTM, and stacks of them.

A new cell is a `Layer` in this file and one of `CELLS`, or a user's own `Cell`. A layer's weights are W_hx `[G·H, D]`,
W_hh `[G·H, H]` and b_h `[G·H]`, the G blocks of a gated cell one above the other.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from tbptt_jax.decompositions import orthogonal
from tbptt_jax.errors import UserError
from tbptt_jax.models import Recurrence, Solve, not_linear


class Cell(ABC):
    """One recurrent layer, or a stack: a step on states whose leaves are `[B, ...]`, and what others read of it."""

    inputs: int
    """How many numbers a step reads."""
    hidden: int
    """How many numbers the readout sees."""
    bias: ClassVar[Any] = True
    """Whether it has biases, and so a readout of it too; it may be a property."""
    summed: ClassVar[bool] = False
    """Whether it is a `SummedLayer` whose step is the inherited one. A class that writes another step loses this."""
    draws: ClassVar[Any] = False
    """Whether its step draws at random, by a fourth argument `key`, as that of a `Model` does; it may be a property."""
    symbols: ClassVar[Any] = False
    """Whether it reads whole numbers `[B]` in the place of `inputs` numbers `[B, D]`; it may be a property."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__ and "summed" not in cls.__dict__:
            cls.summed = False

    @abstractmethod
    def init(self, key: Array) -> Any:
        """Parameters drawn with a key."""

    @abstractmethod
    def initial_state(self, params: Any, batch_size: int) -> Any:
        """The state before the first step, every leaf `[B, ...]`."""

    @abstractmethod
    def step(self, params: Any, state: Any, x: Array) -> Any:
        """The state after a step that reads x `[B, D]`."""

    def recurrence(self, params: Any, start: Any, inputs: Array) -> Recurrence:
        """All steps of a chunk `[T, B, D]` from a state, of a cell that is linear in its state. Others refuse."""
        raise not_linear(self)

    def states_at_once(self, params: Any, start: Any, inputs: Array, solve: Solve) -> Any:
        """All states of a chunk, where `solve` makes those of a linear recurrence."""
        return solve(self.recurrence(params, start, inputs))

    @abstractmethod
    def output(self, state: Any) -> Float[Array, "*B H"]:
        """The part of the state that the readout, or the next layer, sees."""


@dataclass(frozen=True)
class Layer(Cell):
    """What the built-in cells share: their weights and how these are drawn.

    Weights are normal with variance 1 / fan-in, so that W_hh has a spectral radius near 1; `radius` scales each of its
    blocks to exactly that spectral radius, and `orthogonal` draws each block orthogonal.
    """

    inputs: int
    hidden: int
    radius: float | None = None
    orthogonal: bool = False
    blocks: ClassVar[int] = 1
    """G, how many sums of weighted inputs a unit has."""
    name: ClassVar[str]
    """As `rnn` and the command line call it."""

    def __post_init__(self):
        is_number = isinstance(self.radius, Real | Array | np.ndarray) and np.shape(self.radius) == ()  # type: ignore[arg-type]
        if self.radius is not None and not (is_number and 0 <= self.radius < np.inf):
            raise UserError(f"radius: a number of at least 0 is needed, got {self.radius!r}")

    def init(self, key: Array):
        input_key, *recurrent_keys = jax.random.split(key, 1 + self.blocks)
        params = {
            "W_hx": jax.random.normal(input_key, (self.blocks * self.hidden, self.inputs)) / self.inputs**0.5,
            "W_hh": jnp.concatenate([self.recurrent_block(block_key) for block_key in recurrent_keys]),
        }
        if self.bias:
            params["b_h"] = jnp.zeros(self.blocks * self.hidden)
        return params

    def recurrent_block(self, key: Array):
        shape = (self.hidden, self.hidden)
        if self.orthogonal:
            return orthogonal(key, self.hidden) * (1.0 if self.radius is None else self.radius)
        block = jax.random.normal(key, shape) / self.hidden**0.5
        return block if self.radius is None else block * (self.radius / spectral_radius(block))

    def initial_state(self, params: Any, batch_size: int):
        return jnp.zeros((batch_size, self.hidden), params["W_hh"].dtype)

    def output(self, state: PyTree):
        return state


@dataclass(frozen=True)
class SummedLayer(Layer):
    """A layer whose weights act through one sum, a_t = W_hx x_t + W_hh h_{t-1} + b_h `[B, G·H]`, and nowhere else.

    Unit i of the new state depends on the old state of unit i and on the entries of a_t that belong to it, and on no
    other unit: that is all that `snap`, `rflo` and `kf_rtrl` ask of a cell to work in proportion to its parameters. A
    subclass gives `activate`, and is held to this when one of them is used.
    """

    summed: ClassVar[bool] = True
    linear: ClassVar[bool] = False
    """Whether the new state is a_t itself."""

    @abstractmethod
    def activate(self, state: Any, summed: Array) -> Any:
        """The new state, from the old one and a_t, unit by unit."""

    def sums(self, params: Any, h: Array, x: Array) -> Array:
        """a_t, of what the layer reads and h, the `output` of its old state."""
        summed = x @ params["W_hx"].T + h @ params["W_hh"].T
        return summed + params["b_h"] if self.bias else summed

    def step(self, params: Any, state: PyTree, x: PyTree):
        return self.activate(state, self.sums(params, self.output(state), x))


@dataclass(frozen=True)
class Linear(SummedLayer):
    """h_t = W_hx x_t + W_hh h_{t-1}, without a bias, as the chapter works it out by hand."""

    name: ClassVar[str] = "linear"
    bias: ClassVar[Any] = False
    linear: ClassVar[bool] = True

    def activate(self, state: PyTree, summed: Array):
        return summed


@dataclass(frozen=True)
class Tanh(SummedLayer):
    """h_t = tanh(W_hx x_t + W_hh h_{t-1} + b_h)."""

    name: ClassVar[str] = "tanh"

    def activate(self, state: PyTree, summed: Array):
        return jnp.tanh(summed)


@dataclass(frozen=True)
class GRU(Layer):
    """h_t = z ⊙ h_{t-1} + (1 − z) ⊙ tanh(candidate), the reset gate acting on h_{t-1} before its matrix."""

    name: ClassVar[str] = "gru"
    blocks: ClassVar[int] = 3

    def step(self, params: Any, state: PyTree, x: PyTree):
        two = 2 * self.hidden
        from_input = x @ params["W_hx"].T + params["b_h"]
        gates = jax.nn.sigmoid(from_input[..., :two] + state @ params["W_hh"][:two].T)
        reset, update = jnp.split(gates, 2, axis=-1)
        candidate = jnp.tanh(from_input[..., two:] + (reset * state) @ params["W_hh"][two:].T)
        return update * state + (1 - update) * candidate


@dataclass(frozen=True)
class LSTM(SummedLayer):
    """c_t = f ⊙ c_{t-1} + i ⊙ tanh(candidate), h_t = o ⊙ tanh(c_t); the state is (h, c)."""

    name: ClassVar[str] = "lstm"
    blocks: ClassVar[int] = 4

    def initial_state(self, params: Any, batch_size: int):
        return (super().initial_state(params, batch_size),) * 2

    def activate(self, state: PyTree, summed: Array):
        i, f, o, candidate = jnp.split(summed, 4, axis=-1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(candidate)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    def output(self, state: PyTree):
        return state[0]


@dataclass(frozen=True)
class Stack(Cell):
    """Layers one above the other: at each step a layer reads the new output of the one below. The state is a tuple."""

    layers: tuple[Cell, ...]

    @property
    def inputs(self) -> int:  # type: ignore[override]
        return self.layers[0].inputs

    @property
    def hidden(self) -> int:  # type: ignore[override]
        return self.layers[-1].hidden

    @property
    def bias(self) -> bool:  # type: ignore[override]
        return self.layers[-1].bias

    def init(self, key: Array):
        return tuple(layer.init(k) for layer, k in zip(self.layers, jax.random.split(key, len(self.layers))))

    def initial_state(self, params: Any, batch_size: int):
        return tuple(layer.initial_state(p, batch_size) for layer, p in zip(self.layers, params))

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return any(layer.draws for layer in self.layers)

    @property
    def symbols(self) -> bool:  # type: ignore[override]
        return self.layers[0].symbols

    def step(self, params: Any, state: PyTree, x: PyTree, key: Array | None = None):
        new_state = []
        for i, (layer, p, s) in enumerate(zip(self.layers, params, state)):
            new_state.append(step_of(layer, p, s, x, None if key is None else jax.random.fold_in(key, i)))
            x = layer.output(new_state[-1])
        return tuple(new_state)

    def states_at_once(self, params: Any, start: PyTree, inputs: Array, solve: Solve):
        """One layer after the other: each reads all outputs of the one below."""
        states = []
        for layer, p, s in zip(self.layers, params, start):
            states.append(layer.states_at_once(p, s, inputs, solve))
            inputs = layer.output(states[-1])
        return tuple(states)

    def output(self, state: PyTree):
        return self.layers[-1].output(state[-1])


def step_of(cell: Cell, params: Any, state: Any, x: Array, key: Array | None):
    """A cell's step, with the key if it draws."""
    return cell.step(params, state, x, key) if cell.draws else cell.step(params, state, x)  # type: ignore[call-arg]


CELLS: dict[str, type[Layer]] = {cell.name: cell for cell in (Linear, Tanh, GRU, LSTM)}


def spectral_radius(matrix: Float[Array, "H H"]) -> Float[Array, ""]:
    """The largest magnitude of an eigenvalue; on the host where an accelerator cannot compute them."""

    def on_host(matrix):
        return np.abs(np.linalg.eigvals(matrix)).max(-1).astype(matrix.dtype)

    def by_callback(matrix):
        like = jax.ShapeDtypeStruct(matrix.shape[:-2], matrix.dtype)
        return jax.pure_callback(on_host, like, matrix, vmap_method="expand_dims")

    def by_lapack(matrix):
        return jnp.max(jnp.abs(jnp.linalg.eigvals(matrix)), axis=-1)

    return jax.lax.platform_dependent(matrix, cpu=by_lapack, default=by_callback)
