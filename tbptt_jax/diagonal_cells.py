"""Cells whose recurrence is diagonal: a unit's new state depends on its own old one, and on the input of the step.

A parameter never reaches more than one unit, so that the exact influence of one layer holds a number for each parameter
and each number in a unit's state (one in `mingru`, two in `lru` and `elstm`): `rtrl()` finds that out by itself.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from tbptt_jax.cells import Cell
from tbptt_jax.errors import UserError
from tbptt_jax.models import Recurrence


@dataclass(frozen=True)
class DiagonalCell(Cell):
    """What they share: sizes, and weights `[H, D]` drawn with variance 1 / D."""

    inputs: int
    hidden: int
    name: ClassVar[str]

    def drawn(self, key: Array, rows: int) -> Array:
        return jax.random.normal(key, (rows, self.inputs)) / self.inputs**0.5

    def output(self, state: PyTree):
        return state


@dataclass(frozen=True)
class LRU(DiagonalCell):
    """The linear recurrent unit of Orvieto et al. (2023): H/2 complex units, h_t = λ ⊙ h_{t−1} + γ ⊙ (B x_t).

    λ = exp(−exp(ν) + iθ) starts in the ring of radii .9 to .999; γ, which starts as √(1 − |λ|²), is learned. The
    readout sees real and imaginary parts.
    """

    name: ClassVar[str] = "lru"

    def __post_init__(self):
        if self.hidden % 2:
            raise UserError(f"hidden: an even number is needed by lru, half of it complex units, got {self.hidden}")

    def init(self, key: Array):
        radius_key, angle_key, input_key = jax.random.split(key, 3)
        units = self.hidden // 2
        radius = jnp.sqrt(jax.random.uniform(radius_key, (units,), minval=0.9**2, maxval=0.999**2))
        theta = jax.random.uniform(angle_key, (units,), maxval=jnp.pi / 10)
        gamma = jnp.sqrt(1 - radius**2)
        return {
            "nu": jnp.log(-jnp.log(radius)),
            "theta": theta,
            "gamma": gamma,
            "W_hx": self.drawn(input_key, self.hidden) / 2**0.5,
        }

    def initial_state(self, params: Any, batch_size: int):
        return (jnp.zeros((batch_size, self.hidden // 2), params["nu"].dtype),) * 2

    def step(self, params: Any, state: PyTree, x: Array):
        real, imaginary = state
        (a, b), (u, v) = self.parts(params, x)
        return a * real - b * imaginary + u, b * real + a * imaginary + v

    def parts(self, params: Any, x: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """λ, and what is read, by real and imaginary parts."""
        size = jnp.exp(-jnp.exp(params["nu"]))
        u, v = jnp.split(x @ params["W_hx"].T, 2, axis=-1)
        rotation = size * jnp.cos(params["theta"]), size * jnp.sin(params["theta"])
        return rotation, (params["gamma"] * u, params["gamma"] * v)

    def recurrence(self, params: Any, start: PyTree, inputs: Array):
        rotation, read = self.parts(params, inputs)
        factors = jnp.broadcast_to(lax.complex(*rotation), (len(inputs), 1, self.hidden // 2))
        return Recurrence(factors, lax.complex(*read), lax.complex(*start), lambda h: (h.real, h.imag))

    def output(self, state: PyTree):
        return jnp.concatenate(state, axis=-1)


@dataclass(frozen=True)
class ELSTM(DiagonalCell):
    """An LSTM with element-wise recurrence (Irie et al. 2024): c_t = f ⊙ c_{t−1} + (1 − f) ⊙ tanh(z), with f = σ(a) and
    the output h_t = σ(o) ⊙ c_t, which no step reads. Each of a, z and o is W x + w ⊙ c + b with weights of its own,
    where c is c_{t−1} for a and z, and c_t for o."""

    name: ClassVar[str] = "elstm"

    def init(self, key: Array):
        input_key, own_key = jax.random.split(key)
        return {
            "W_hx": self.drawn(input_key, 3 * self.hidden),
            "w_c": jax.random.normal(own_key, (3, self.hidden)) / 3,
            "b_h": jnp.zeros(3 * self.hidden),
        }

    def initial_state(self, params: Any, batch_size: int):
        return (jnp.zeros((batch_size, self.hidden), params["W_hx"].dtype),) * 2

    def step(self, params: Any, state: PyTree, x: Array):
        _, c = state
        forget, new, out = jnp.split(x @ params["W_hx"].T + params["b_h"], 3, axis=-1)
        of_forget, of_new, of_out = params["w_c"]
        kept = jax.nn.sigmoid(forget + of_forget * c)
        c = kept * c + (1 - kept) * jnp.tanh(new + of_new * c)
        return jax.nn.sigmoid(out + of_out * c) * c, c

    def output(self, state: PyTree):
        return state[0]


@dataclass(frozen=True)
class MinGRU(DiagonalCell):
    """The minimal GRU of Feng et al. (2024): h_t = (1 − z) ⊙ h_{t−1} + z ⊙ (W x + b), z = σ(W_z x + b_z). The input
    alone decides what is kept."""

    name: ClassVar[str] = "mingru"

    def init(self, key: Array):
        return {"W_hx": self.drawn(key, 2 * self.hidden), "b_h": jnp.zeros(2 * self.hidden)}

    def initial_state(self, params: Any, batch_size: int):
        return jnp.zeros((batch_size, self.hidden), params["W_hx"].dtype)

    def step(self, params: Any, state: PyTree, x: Array):
        kept, added = self.parts(params, x)
        return kept * state + added

    def parts(self, params: Any, x: Array) -> tuple[Array, Array]:
        """What is kept of a state, and what is added."""
        update, new = jnp.split(x @ params["W_hx"].T + params["b_h"], 2, axis=-1)
        update = jax.nn.sigmoid(update)
        return 1 - update, update * new

    def recurrence(self, params: Any, start: PyTree, inputs: Array):
        return Recurrence(*self.parts(params, inputs), start, lambda h: h)


DIAGONAL_CELLS: dict[str, type[Cell]] = {cell.name: cell for cell in (LRU, ELSTM, MinGRU)}
