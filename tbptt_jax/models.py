"""The model of the chapter: h_t = f(x_t, h_{t-1}, w), o_t = g(h_t, w), l(o_t, y_t).

A `Model` holds no parameters; it says how to make them and how to use them. Everything else in the package
(estimators, analysis, training) reaches a recurrent model through its five methods, and what it declares besides, and
runs it over a sequence by `forward.unroll`. Models that are there stand in `networks`.
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
from jaxtyping import Array, PyTree

from tbptt_jax.errors import UserError
from tbptt_jax.leaves import floats, with_floats

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


class Recurrence(NamedTuple):
    """h_t = factors_t ⊙ h_{t-1} + added_t from h_0 = start: arrays `[T, B, ...]` and `[B, ...]`, real or complex, with
    factors that may have axes of size 1; `state_of(h)` is the state whose numbers these are."""

    factors: Array
    added: Array
    start: Array
    state_of: Callable[[Array], State]


Solve = Callable[[Recurrence], State]
"""The states of a recurrence, all steps at once."""


def not_linear(what: Any) -> UserError:
    return UserError(
        f"parallel: a recurrence that is linear in its state is needed, such as that of lru and mingru, got {what}"
    )


@dataclass(frozen=True)
class Model(ABC):
    """A recurrent model; subclass it as a frozen dataclass with hashable fields. States and outputs are batched."""

    summed_layer: ClassVar[Any] = None
    """The `SummedLayer` that the step is, where it is one and all parameters that the step reads are that layer's; it
    may be a property. A class that writes another step loses it."""
    draws: ClassVar[Any] = False
    """Whether a step draws at random; it may be a property. The step then has a fourth argument `key`: None where
    nothing is to be drawn, else a key for one sequence, which it is given alone, in a batch of one (see `noise`)."""

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

    def recurrence(self, params: Params, start: State, inputs: PyTree) -> Recurrence:
        """All steps of a chunk from a state, of a model that is linear in its state. Others refuse."""
        raise not_linear(self)

    def states_at_once(self, params: Params, start: State, inputs: PyTree, solve: Solve) -> State:
        """All states of a chunk, leaves `[T, B, ...]`, where `solve` makes those of a linear recurrence."""
        return solve(self.recurrence(params, start, inputs))

    def own_inputs(self, inputs: PyTree) -> PyTree:
        """Of the inputs of a batch, those that a user's model reads: models around it add others."""
        return inputs

    def own_start(self, params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        """The state and the input that a user's model makes a step from: models around it may change them before."""
        return state, x


@dataclass(frozen=True)
class Around(Model):
    """Another model, but for what a subclass changes: most change the step."""

    model: Model

    def init(self, key: Array) -> Params:
        return self.model.init(key)

    def initial_state(self, params: Params, batch_size: int) -> State:
        return self.model.initial_state(params, batch_size)

    def step(self, params: Params, state: State, x: PyTree) -> State:
        return self.model.step(params, state, x)

    def readout(self, params: Params, state: State) -> PyTree:
        return self.model.readout(params, state)

    def losses(self, output: PyTree, target: PyTree) -> Array:
        return self.model.losses(output, target)


@dataclass(frozen=True)
class Accompanied(Around):
    """A model whose inputs are (x, something more), x being those of the other model."""

    def own_inputs(self, inputs: PyTree) -> PyTree:
        return self.model.own_inputs(inputs[0])


@dataclass(frozen=True)
class Resetting(Accompanied):
    """A model whose inputs say where it starts anew: (x, 1.0 where the state before this step is the initial one)."""

    @property
    def summed_layer(self) -> Any:  # type: ignore[override]
        return self.model.summed_layer

    def step(self, params: Params, state: State, x: PyTree) -> State:
        return self.model.step(params, *self.begun_anew(params, state, x))

    def own_start(self, params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        return self.model.own_start(params, *self.begun_anew(params, state, x))

    def begun_anew(self, params: Params, state: State, x: PyTree) -> tuple[State, PyTree]:
        """The initial state where an episode begins, and the other model's input."""
        x, resets = x
        initial = lax.stop_gradient(self.model.initial_state(params, resets.shape[0]))

        def start_anew(leaf: Array, first: Array) -> Array:
            anew = resets.reshape(-1, *[1] * (leaf.ndim - 1))
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return jnp.where(anew > 0, first, leaf)
            anew = anew.astype(leaf.dtype)
            return leaf * (1 - anew) + first * anew  # a product: from drawn inputs it is seen what depends on what

        return jax.tree.map(start_anew, state, initial), x

    def states_at_once(self, params: Params, start: State, inputs: PyTree, solve: Solve) -> State:
        inputs, resets = inputs
        initial = lax.stop_gradient(self.model.initial_state(params, resets.shape[1]))
        first: list[Array] = []  # of each recurrence that the model solves

        def look(recurrence: Recurrence) -> State:
            first.append(recurrence.start)
            return recurrence.state_of(recurrence.added)

        self.model.states_at_once(params, initial, inputs, look)
        each = iter(first)

        def solve_anew(recurrence: Recurrence) -> State:
            factors, added, _, _ = recurrence
            anew = resets.reshape(*resets.shape, *[1] * (added.ndim - 2)) > 0
            begun = jnp.where(anew, factors * next(each) + added, added)
            return solve(recurrence._replace(factors=jnp.where(anew, 0, factors), added=begun))

        return self.model.states_at_once(params, start, inputs, solve_anew)


@dataclass(frozen=True)
class Stopping(Accompanied):
    """A model that stands still where its inputs say so: (x, whether this is a step of the sequence `[B]`)."""

    def states_at_once(self, params: Params, start: State, inputs: PyTree, solve: Solve) -> State:
        inputs, going = inputs

        def solve_on(recurrence: Recurrence) -> State:
            moves = going.reshape(*going.shape, *[1] * (recurrence.added.ndim - 2))
            factors, added = jnp.where(moves, recurrence.factors, 1), jnp.where(moves, recurrence.added, 0)
            return solve(recurrence._replace(factors=factors, added=added))

        return self.model.states_at_once(params, start, inputs, solve_on)

    def step(self, params: Params, state: PyTree, x: PyTree):
        x, going = x
        return jax.tree.map(
            lambda new, old: jnp.where(going.reshape(-1, *[1] * (new.ndim - 1)), new, old),
            self.model.step(params, state, x),
            state,
        )


@dataclass(frozen=True)
class Repeating(Around):
    """A model whose step is a block of steps: x has leaves `[B, steps, ...]`."""

    def step(self, params: Params, state: PyTree, x: PyTree):
        in_time = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), x)
        return lax.scan(lambda h, x: (self.model.step(params, h, x), None), state, in_time)[0]


@dataclass(frozen=True)
class Nudged(Accompanied):
    """A model whose inputs move the state before a step: (x, what is added to the state's floats). The derivative by
    it is the credit that the step passes back, before any gate."""

    def step(self, params: Params, state: State, x: PyTree) -> State:
        x, nudges = x
        return self.model.step(params, with_floats(state, map(jnp.add, floats(state), nudges)), x)


def with_resets(model: Model, batch: Batch) -> tuple[Model, Batch]:
    """The model that starts anew where a batch's resets say so, and the batch as it reads it."""
    if batch.resets is None:
        return model, batch
    sequence_shape(batch)
    shape, kind = jnp.shape(batch.resets), jnp.result_type(float)
    only_shapes = isinstance(batch.resets, jax.ShapeDtypeStruct)
    resets = jax.ShapeDtypeStruct(shape, kind) if only_shapes else jnp.asarray(batch.resets, kind)
    return Resetting(model), batch._replace(inputs=(batch.inputs, resets), resets=None)


def takes_resets(function: Callable) -> Callable:
    """A function of a model and a batch, by these names, which need not think of the batch's resets: the model does."""
    signature = inspect.signature(function)

    @wraps(function)
    def knowing(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        model: Any
        model, batch = (given.arguments.get(name) for name in ("model", "batch"))
        if not isinstance(batch, Batch) or batch.resets is None:
            return function(*args, **kwargs)
        given.arguments["model"], given.arguments["batch"] = with_resets(model, batch)
        return function(*given.args, **given.kwargs)

    return knowing


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
