"""An estimator answers one question: what is the gradient of this chunk's loss?

It is a frozen dataclass whose fields are its hyperparameters, and a pytree whose leaves are the numbers among them. As
an ordinary argument of a jitted function it never recompiles it when they change (from one float to another, that is),
and `vmap` over a stacked one is a whole sweep in one program. Closed over, or as a static argument, its numbers are
constants of the program.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from tbptt_jax.critics.base import Critic, Frozen
from tbptt_jax.critics.by_name import make_critic
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.history import History, continued, looking_back, no_history
from tbptt_jax.estimators.laws import Fixed, Law
from tbptt_jax.estimators.predicted import Estimate, Fitted, flat, with_critic
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Cut, Gates, Lags, Truncates
from tbptt_jax.gradients.cuts.linear_scan import recur
from tbptt_jax.gradients.cuts.schedule import kept
from tbptt_jax.models import (
    Batch,
    Model,
    Params,
    Recurrence,
    State,
    Stopping,
    chunk_loss,
    chunk_loss_step_by_step,
    loss_of_states,
    sequence_shape,
    takes_resets,
)
from tbptt_jax.named import Named
from tbptt_jax.noise import noise_key, with_noise
from tbptt_jax.pytree import Whole, register

Carry = PyTree


class Pace(NamedTuple):
    """How an estimator is trained on a stream: in chunks of how many steps, and how many steps of the stream an update
    takes on average."""

    chunk: int
    steps_an_update: float


class Estimator(Named, ABC):
    """A way to estimate the gradient of a recurrent model. Subclass it as a frozen dataclass.

    What it can do stands here as attributes and methods with a default; a subclass that can do more says so by
    overriding them, and `tbptt check` holds it to its word.
    """

    unbiased: ClassVar[str]
    """What the mean of the estimates is: "chunk", the gradient of the chunk's loss; "stream", that of the whole
    stream's, across chunks too; or "never"."""
    learns: ClassVar[bool] = False
    """Whether it learns from chunk to chunk how to estimate, and `restart` keeps what it has learned."""
    updates_at_cuts: ClassVar[bool] = False
    """Whether its draws cut a stream: training makes one update a random segment, the same for all sequences of a
    batch. It is gated then, its law is a `Renewal`, and it has a field `shared`."""
    shared: bool = False
    """Whether one draw serves all sequences of a batch; a field where that can be chosen."""
    constants: tuple[str, ...] = ()
    """The names of number fields that are constants of a compiled program, besides those that are marked static."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)
        for name in ("init", "restart", "__call__"):
            if name in cls.__dict__:  # no estimator need think of the resets of a batch
                setattr(cls, name, takes_resets(cls.__dict__[name]))

    @classmethod
    def of_length(cls, tau: int) -> "Estimator | None":
        """The estimator that keeps tau states on average for its backward pass; None where the method has no length.

        It is how an experiment with an axis `tau` makes an estimator that is named without arguments."""
        return None

    @property
    def nominal_length(self) -> float | None:
        """The tau that `of_length` makes this estimator of; None where the method has no length."""
        return None

    def pace(self, chunk: int) -> Pace:
        """How it is trained on a stream where others make an update every `chunk` steps."""
        return Pace(chunk, float(chunk))

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None) -> Carry:
        """What is carried into the first chunk of a stream; of the batch, an example of a chunk, only shapes and types
        count."""
        return model.initial_state(params, sequence_shape(batch)[1])

    def restart(self, model: Model, params: Params, carry: Carry, batch: Batch, key: Array | None) -> Carry:
        """What is carried into the first chunk of another stream; what was learned of the model may be kept."""
        return self.init(model, params, batch, key)

    @abstractmethod
    def __call__(
        self, model: Model, params: Params, carry: Carry, batch: Batch, key: Array | None
    ) -> tuple[Estimate, Carry]:
        """The estimate for one chunk, and what is carried into the next one."""

    def states_alive(self, length: int) -> int:
        """How many states of the model are kept at once, at most, for the backward pass of `length` steps."""
        return length

    def law(self, length: int) -> Law | None:
        """How the cuts of its backward pass are distributed, if that is known: `exact` needs it. It is the law of each
        sequence of a batch, all independent, unless `shared` is true."""
        return None

    def require_key(self, key: Array | None) -> Array:
        if key is None:
            raise UserError(f"{self} draws at random: pass key=jax.random.key(seed)")
        return key


class Truncation(Estimator, Truncates):
    """An estimator that backpropagates through a backward pass that is cut, as `cut` says; also a `truncation` for
    `scan`."""

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        states = partial(states_before, model, params, carry, batch.inputs)
        cut = self.cut_seeing(model.own_inputs(batch.inputs), states, key, *sequence_shape(batch))
        return cut_estimate(cut, model, params, carry, batch)


def states_before(model: Model, params: Params, state: State, inputs: PyTree) -> State:
    """The states that the steps of a chunk start from, leaves `[T, B, ...]`."""
    return lax.scan(lambda h, x: (model.step(params, h, x), h), state, inputs)[1]


def cut_estimate(cut: Cut, model: Model, params: Params, state: PyTree, batch: Batch) -> tuple[Estimate, PyTree]:
    """What a cut backward pass makes of a chunk that starts from a state, and the state after it."""
    few_states = isinstance(cut, Gates) and cut.states is not None

    def loss_and_state(params):
        read = chunk_loss_step_by_step if few_states else chunk_loss
        return read(model, params, state, batch, partial(cut_scan, cut=cut))

    (loss, after), grads = jax.value_and_grad(loss_and_state, has_aux=True)(params)
    return Estimate(loss, grads), after


class Promise:
    """What the mean of gated estimates is: what the class says, but for a critic that stands for later chunks."""

    def __init__(self, said: str) -> None:
        self.said = said

    def __get__(self, est: Any, kind: Any) -> str:
        return "never" if est is not None and est.critic is not None and est.critic.beyond else self.said


class HasCritic:
    """Whether a gated estimator has a critic, and so learns."""

    def __get__(self, est: Any, kind: Any) -> bool:
        return est is not None and est.critic is not None


@dataclass(frozen=True, kw_only=True)
class GatedEstimator(Truncation):
    """A truncation that scales the credit between steps: δ_t = e_t + gate_{t+1} J_{t+1}ᵀ δ_{t+1}.

    With `states`, a number or "sqrt", so many states are kept at once at most, and the others are made again when they
    are needed: the same estimate for more forward passes (Griewank 1992). With a `critic`, such as `linear()`, credit
    is predicted where it is cut: δ_t = e_t + s_t + gate_{t+1} (J_{t+1}ᵀ δ_{t+1} − s_t). With `parallel`, all steps of a
    recurrence that is linear in its state (lru, mingru) are made at once, and so is their credit: the same estimate in
    log₂ T turns instead of T, for log₂ T times the work; on devices that have room. With a `reach`, credit crosses the
    chunks of a stream: so many steps before a chunk run again under the parameters of now, and losses see them through
    the same gates. An unbiased estimate then is one of all lags up to `reach`, wherever a chunk begins.

    A subclass with `sees_inputs = True` has gates that depend on what is read: `gates` takes `inputs` then, leaves
    `[T, B, ...]`; with `sees_states = True`, on the state that each step starts from: it takes `states`.
    """

    states: int | str | None = field(default=None, metadata={"static": True})
    critic: Critic | None = None
    parallel: bool = False  # type: ignore[misc]
    reach: int = field(default=0, metadata={"static": True})
    learns: ClassVar[bool] = HasCritic()  # type: ignore[assignment]
    inside: ClassVar[dict] = {"critic": make_critic}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if isinstance(cls.__dict__.get("unbiased"), str):
            cls.unbiased = Promise(cls.unbiased)  # type: ignore[assignment]

    @abstractmethod
    def gates(self, key: Array | None, length: int, batch_size: int) -> Float[Array, "T B"]:
        """The factor on the credit that flows from step t into h_{t-1}. The first one matters only to an initial state
        that depends on the parameters; in a chunk that state is data."""

    def checked_gates(self, key: Array | None, length: int, batch_size: int, **seen: PyTree) -> Float[Array, "T B"]:
        if (self.sees_inputs, self.sees_states) != ("inputs" in seen, "states" in seen):
            raise UserError(f"{self.name}: its gates depend on what is read, or on states, which are not given here")
        gates = self.gates(key, length, batch_size, **seen)
        if gates.shape != (length, batch_size):
            raise UserError(f"{self.name}.gates: shape [T, B] = {[length, batch_size]} is needed, got {gates.shape}")
        return gates

    def cut(self, key: Array | None, length: int, batch_size: int | None, **seen: PyTree):
        gates = self.checked_gates(key, length, batch_size or 1, **seen)
        return Gates(gates if batch_size else gates[:, 0], states=kept(self.states, length))

    def cut_seeing(
        self, inputs: PyTree, states: Callable[[], PyTree], key: Array | None, length: int, batch_size: int | None
    ):
        if self.reach:
            raise UserError(f"{self.name}: a scan has no chunks before it to reach into; leave reach={self.reach} out")
        return super().cut_seeing(inputs, states, key, length, batch_size)

    def init(self, model: Model, params: Params, batch: Batch, key: Array | None):
        if self.reach:
            return self.reaching(model, params, batch)
        state = super().init(model, params, batch, key)
        if self.critic is None:
            return state
        example = jax.eval_shape(lambda: flat(jax.tree.map(lambda leaf: leaf[None], state)))
        return Fitted(state, self.critic.init(example.shape[2], example.dtype))

    def restart(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        if self.reach:
            return self.reaching(model, params, batch)
        state = super().init(model, params, batch, key)
        return state if self.critic is None else carry._replace(state=state)

    def reaching(self, model: Model, params: Params, batch: Batch) -> History:
        """What is carried into a stream by one that reaches back."""
        if not isinstance(self.reach, int) or self.reach < 0:
            raise UserError(f"{self.name}: reach must be a whole number of at least 0, got {self.reach!r}")
        for name, left_out in (("states", None), ("critic", None), ("parallel", False)):
            if getattr(self, name) != left_out:
                raise UserError(
                    f"{self.name}: reach={self.reach} keeps all states and learns nothing; leave {name} out"
                )
        return no_history(self.reach, model, params, batch)

    def across(self, model: Model, params: Params, history: PyTree, batch: Batch, key: Array | None):
        """The estimate of a chunk whose losses see the steps before it. Gates are drawn from the first step that there
        was, so that on a new stream they are what `law` says."""
        length, batch_size = sequence_shape(batch)
        inputs, there = continued(history, batch)
        states = partial(states_before, Stopping(model), params, history.state, (inputs, there))
        seen = self.seen(model.own_inputs(inputs), states, batch_size)
        gates = self.checked_gates(key, self.reach + length, batch_size, **seen)
        if not seen:
            steps = jnp.cumsum(there, axis=0) - 1
            gates = jnp.take_along_axis(gates, jnp.maximum(steps, 0), axis=0)
        return looking_back(Gates(gates), model, params, history, batch)

    def __call__(self, model: Model, params: Params, carry: PyTree, batch: Batch, key: Array | None):
        if self.reach:
            return self.across(model, params, carry, batch, key)
        if self.parallel:
            return self.all_at_once(model, params, carry, batch, key)
        if self.critic is None:
            return super().__call__(model, params, carry, batch, key)
        if self.states is not None:
            raise UserError(f"{self.name}: a critic needs all states; leave states out, got states={self.states!r}")
        shape = sequence_shape(batch)
        states = partial(states_before, model, params, carry.state, batch.inputs)
        seen = self.seen(model.own_inputs(batch.inputs), states, shape[1])
        cut, gates = replace(self, critic=None).cut(key, *shape, **seen), self.checked_gates(key, *shape, **seen)
        return with_critic(self.critic, cut, gates, model, params, carry, batch)

    def all_at_once(self, model: Model, params: Params, state: PyTree, batch: Batch, key: Array | None):
        """The estimate where the recurrence is linear."""
        for name in ("states", "critic"):
            if getattr(self, name) is not None:
                raise UserError(f"{self.name}: parallel keeps all states and learns nothing; leave {name} out")
        shape = sequence_shape(batch)
        seen = self.seen(
            model.own_inputs(batch.inputs), partial(states_before, model, params, state, batch.inputs), shape[1]
        )
        gates = self.checked_gates(key, *shape, **seen)

        def solve(recurrence: Recurrence) -> State:
            factors, added, start, state_of = recurrence
            return state_of(recur(factors, added, start, gates, 0))

        def loss_and_state(params: Params) -> tuple[Array, PyTree]:
            states = model.states_at_once(params, state, batch.inputs, solve)
            return loss_of_states(model, params, states, batch), jax.tree.map(lambda leaf: leaf[-1], states)

        (loss, after), grads = jax.value_and_grad(loss_and_state, has_aux=True)(params)
        return Estimate(loss, grads), after

    def frozen(self, carry: Fitted) -> "GatedEstimator":
        """The same with its critic as it is in what was carried, for `exact`: it learns no more."""
        if self.critic is None:
            raise UserError(f"{self}: there is no critic to freeze")
        return replace(self, critic=Frozen(critic=self.critic, learned=carry.critic, beyond=self.critic.beyond))

    def states_alive(self, length: int):
        return self.reach + (kept(self.states, length) or length)


class WindowedEstimator(Truncation):
    """A truncation that lets each loss see a number of lags."""

    @abstractmethod
    def lags(self, length: int) -> Array | int:
        """How many lags a loss sees, in a sequence of `length` steps; it may be traced."""

    def cut(self, key: Array | None, length: int, batch_size: int | None):
        return Lags(self.lags(length))

    def law(self, length: int):
        return Fixed()


def warmed_up(est: Estimator, model: Any, params: Params, batch: Any, key: Array | None, chunks: Whole) -> Carry:
    """What an estimator carries that has seen a batch so many times, each time from its start: one that learns how to
    estimate has learned from it, and for any other this is what it carries at first. `batch` may be a function that
    draws one by a key: then it has seen so many fresh ones."""
    draw = batch if callable(batch) else lambda key: batch
    init_key, key = (None, None) if key is None else jax.random.split(key)
    carry = est.init(model, params, draw(init_key), init_key)
    if not est.learns:
        return carry

    def see(i, carry):
        keys = (None, None, None) if key is None else jax.random.split(jax.random.fold_in(key, i), 3)
        seen = draw(keys[2])
        return est(model, params, est.restart(model, params, carry, seen, keys[0]), seen, keys[1])[1]

    return jax.lax.fori_loop(0, chunks, see, carry)


def gradient(est: Estimator, model: Model, params: Params, batch: Batch, key: Array | None = None) -> PyTree:
    """One estimate of the gradient, on one batch of fresh sequences, compiled.

    Whole numbers of the estimator, such as a tau, are constants of the program, which is made for them; floats and
    arrays are not: `Segment(jnp.asarray(8))` serves every tau with one compilation, more slowly."""
    require_estimator(est)
    if not isinstance(model, Model):
        raise UserError(f"model: a Model is needed after the estimator, got {model!r:.80}")
    leaves, structure = jax.tree.flatten(est)
    whole = tuple(leaf if isinstance(leaf, int) else None for leaf in leaves)
    rest = [leaf for leaf in leaves if not isinstance(leaf, int)]
    return _gradient(structure, whole, rest, model, params, batch, key)


@partial(jax.jit, static_argnames=("structure", "whole", "model"))
def _gradient(
    structure: Any, whole: tuple, rest: list, model: Model, params: Params, batch: Batch, key: Array | None
) -> PyTree:
    others = iter(rest)
    est = jax.tree.unflatten(structure, [next(others) if leaf is None else leaf for leaf in whole])
    noisy, batch = with_noise(model, batch, noise_key(key))
    init_key, key = (None, None) if key is None else jax.random.split(key)
    try:
        carry = est.init(noisy, params, batch, init_key)
        return est(noisy, params, carry, batch, key)[0].grads
    except UserError:
        raise
    except Exception as error:
        wanted = jax.eval_shape(model.init, jax.random.key(0))
        if shapes_of(params) == shapes_of(wanted):
            raise
        raise UserError(f"params: those of {model} are needed, such as model.init gives; these are others") from error


def shapes_of(tree: PyTree) -> PyTree:
    return jax.tree.map(jax.numpy.shape, tree)


def require_estimator(est: Any) -> None:
    """An estimator, and not its class, its text or something else; an error says what to write."""
    if isinstance(est, Estimator):
        return
    if isinstance(est, type) and issubclass(est, Estimator):
        raise UserError(f"est: an estimator is needed, got the class; write {est.__name__}(...)")
    if isinstance(est, str):
        raise UserError(f"est: an estimator is needed, got a text; write tb.make_estimator({est!r})")
    raise UserError(f"est: an estimator such as Segment(16) is needed, got {est!r:.80}")
