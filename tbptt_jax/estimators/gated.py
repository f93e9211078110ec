"""Estimators whose cuts are factors on credit between steps, and what all of them can do: keep few states, predict what
is cut, make linear recurrences at once, reach across the chunks of a stream."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tbptt_jax.critics.base import Critic, Frozen
from tbptt_jax.critics.by_name import make_critic
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Truncation
from tbptt_jax.estimators.history import History, continued, looking_back, no_history
from tbptt_jax.estimators.predicted import Estimate, Fitted, flat, with_critic
from tbptt_jax.forward import loss_of_states, states_before
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.gradients.cuts.linear_scan import recur
from tbptt_jax.gradients.cuts.schedule import kept
from tbptt_jax.models import Batch, Model, Params, Recurrence, State, Stopping, sequence_shape


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


class Reaches:
    """Whether a gated estimator reaches across chunks."""

    def __get__(self, est: Any, kind: Any) -> bool:
        return est is not None and est.reach != 0


@dataclass(frozen=True, kw_only=True)
class GatedEstimator(Truncation):
    """A truncation that scales the credit between steps: δ_t = e_t + gate_{t+1} J_{t+1}ᵀ δ_{t+1}.

    With `states`, a number or "sqrt", at most so many states are kept at once, and the others are made again when they
    are needed: the same estimate for more forward passes (Griewank 1992). With a `critic`, such as `linear()`, credit
    is predicted where it is cut: δ_t = e_t + s_t + gate_{t+1} (J_{t+1}ᵀ δ_{t+1} − s_t). With `parallel`, all steps of a
    recurrence that is linear in its state (lru, mingru) are made at once, and so is their credit: the same estimate in
    about 2 log₂ T turns instead of T, for a few times the arithmetic of the recurrence. With a `reach`, credit crosses
    the chunks of a stream: so many steps before a chunk run again under the current parameters, and losses see them
    through the same gates. An unbiased estimator is then unbiased for all lags up to `reach`, wherever a chunk begins.

    A subclass whose gates depend on what is read sets `sees_inputs = True`, and its `gates` takes `inputs`, leaves
    `[T, B, ...]`. One whose gates depend on the state that each step starts from sets `sees_states = True`, and its
    `gates` takes `states`.
    """

    states: int | str | None = field(default=None, metadata={"static": True})
    critic: Critic | None = None
    parallel: bool = False  # type: ignore[misc]
    reach: int = field(default=0, metadata={"static": True})
    carries_more: ClassVar[bool] = Reaches()  # type: ignore[misc, assignment]
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

    def frozen(self, carry: Fitted, length: int) -> "GatedEstimator":
        if self.critic is None:
            raise UserError(f"{self}: there is no critic to freeze")
        return replace(self, critic=Frozen(critic=self.critic, learned=carry.critic, beyond=self.critic.beyond))

    def states_alive(self, length: int):
        return self.reach + (kept(self.states, length) or length)
