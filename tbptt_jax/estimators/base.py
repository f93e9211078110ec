"""An estimator answers one question: what is the gradient of this chunk's loss?

It is a frozen dataclass whose fields are its hyperparameters, and a pytree whose leaves are the numbers among them. As
an ordinary argument of a jitted function it causes no recompilation when one float is replaced by another, and `vmap`
over a stacked estimator runs a whole sweep in one program. Where an estimator is closed over, or is a static argument,
its numbers are constants of the program.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, PyTree

from tbptt_jax.critics.base import Critic
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.laws import Fixed, Law, Noise
from tbptt_jax.estimators.predicted import Estimate
from tbptt_jax.forward import chunk_loss, chunk_loss_step_by_step, states_before
from tbptt_jax.gradients.cuts.engine import cut_scan
from tbptt_jax.gradients.cuts.kinds import Cut, Lags, Truncates
from tbptt_jax.gradients.cuts.schedule import kept
from tbptt_jax.jax_internals import varying_axes
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets
from tbptt_jax.named import Named
from tbptt_jax.noise import noise_key, with_noise
from tbptt_jax.pytree import Whole, register

Carry = PyTree


class Pace(NamedTuple):
    """How an estimator is trained on a stream: how many steps a chunk has, and how many steps of the stream an update
    reads on average."""

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
    learns_gates: ClassVar[bool] = False
    """Whether what it learns are probabilities of gates, `keep` on average, a field; `frozen` has them."""
    updates_at_cuts: ClassVar[bool] = False
    """Whether its draws cut a stream: training makes one update a random segment, the same for all sequences of a
    batch. It is gated then, its law is a `Renewal`, and it has a field `shared`."""
    shared: bool = False
    """Whether one draw serves all sequences of a batch; a field where that can be chosen."""
    carries_more: bool = False
    """Whether it carries more than the model's state into the next chunk of a stream, such as an influence or earlier
    steps; what it learns does not count."""
    critic: Critic | None = None
    """What predicts the credit that is cut; a field where there can be one."""
    runs: int = 1
    """How many times a chunk is run forward for an estimate; of perturbations, two for every particle."""
    chunks: int | None = None
    """After how many chunks it starts anew; None: never. A field where that can be chosen."""
    constants: tuple[str, ...] = ()
    """The names of number fields that are constants of a compiled program, besides those that are marked static."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)
        for name in ("init", "restart", "__call__"):
            if name in cls.__dict__:  # no estimator need think of the resets of a batch
                setattr(cls, name, takes_resets(cls.__dict__[name]))

    @classmethod
    def of_length(cls, tau: Any) -> "Estimator | None":
        """The estimator that keeps tau states on average for its backward pass; None where the method has no length.

        It is how an experiment with an axis `tau` makes an estimator that is named without arguments. Where
        cuts are drawn, tau may be any number above 1: experiments at equal memory look for one of as many states."""
        return None

    @property
    def nominal_length(self) -> float | None:
        """The tau that `of_length` makes this estimator of; None where the method has no length."""
        return None

    @property
    def longest_look_back(self) -> float | None:
        """How many states a loss looks back over at most, if its cuts are not drawn; None: all."""
        return self.nominal_length

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

    def laid_at_random(self) -> "Estimator":
        """The same where cuts do not always fall on the same steps: one that has a grid of them lays it at random."""
        return self

    def frozen(self, carry: Carry, length: int) -> "Estimator":
        """The same with what it has learned, for sequences of `length` steps: it learns no more, and `exact` knows its
        law."""
        raise UserError(f"{self}: it has learned nothing that can be frozen")

    def lags(self, length: int) -> Array | int | None:
        """How many lags every loss sees of a sequence of `length` steps, where that is one number; None where it is
        not. It may be traced."""
        return None

    def states_alive(self, length: int) -> int:
        """How many states of the model are kept at once, at most, for the backward pass of `length` steps."""
        return length

    def law(self, length: int) -> Law | None:
        """How the cuts of its backward pass are distributed, if that is known: `exact` needs it. It is the law of each
        sequence of a batch, all independent, unless `shared` is true."""
        return None

    def noise_law(self) -> Noise | None:
        """How its chunks share their noise, if it perturbs: `exact.evolution` needs it."""
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


def cut_estimate(cut: Cut, model: Model, params: Params, state: PyTree, batch: Batch) -> tuple[Estimate, PyTree]:
    """What a cut backward pass makes of a chunk that starts from a state, and the state after it."""

    def loss_and_state(params):
        read = chunk_loss if cut.states is None else chunk_loss_step_by_step
        return read(model, params, state, batch, partial(cut_scan, cut=cut))

    (loss, after), grads = jax.value_and_grad(loss_and_state, has_aux=True)(params)
    return Estimate(loss, grads), after


@dataclass(frozen=True, kw_only=True)
class LookingBack(Truncation):
    """A truncation whose losses look back as `keeping_all` says, over steps that others see too.

    With `states`, a number or "sqrt", so many states are kept at once at most, and the others are made again when they
    are needed; beside them the credits of all losses, or blocks of losses, that see a step.
    """

    states: int | str | None = field(default=None, metadata={"static": True})

    @abstractmethod
    def keeping_all(self, length: int) -> Cut:
        """The cut of `length` steps, where all states are kept."""

    def cut(self, key: Array | None, length: int, batch_size: int | None):
        cut = self.keeping_all(length).keeping(kept(self.states, length), length)
        if cut is None:
            raise UserError(f"{self.name}: states={self.states!r} needs lengths that are Python numbers, got {self!r}")
        return cut

    def law(self, length: int):
        return Fixed()

    def states_alive(self, length: int):
        return kept(self.states, length) or length


@dataclass(frozen=True, kw_only=True)
class WindowedEstimator(LookingBack):
    """A truncation that lets each loss see a number of lags."""

    @abstractmethod
    def lags(self, length: int) -> Array | int:
        """How many lags every loss sees of a sequence of `length` steps; it may be traced."""

    def keeping_all(self, length: int):
        return Lags(self.lags(length))


def warmed_up(est: Estimator, model: Any, params: Params, batch: Any, key: Array | None, chunks: Whole) -> Carry:
    """What an estimator carries after it has seen a batch so many times, each time from the start. One that learns how
    to estimate has learned from it; any other carries what it carries at first. `batch` may be a function that draws a
    batch by a key: then every batch that it has seen was a fresh one."""
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
    arrays are not: `Segment(jnp.asarray(8))` serves every tau with one compilation, more slowly. In a `shard_map` of
    your own it needs `check_vma=False` there, and is the estimate of a device's own sequences.

    Args:
        est: The estimator.
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`, which start from the model's initial state.
        key: For estimators and models that draw.

    Returns:
        The estimate, shaped as the parameters.
    """
    require_estimator(est)
    if not isinstance(model, Model):
        raise UserError(f"model: a Model is needed after the estimator, got {model!r:.80}")
    require_untyped((params, batch, key))
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


def require_untyped(given: PyTree) -> None:
    """Nothing may be typed as varying over devices, since the states that a model starts from are not."""
    axes = {axis for leaf in jax.tree.leaves(given) for axis in varying_axes(leaf)}
    if axes:
        raise UserError(
            f"params, batch or key vary over the axes {sorted(axes)} of a shard_map, which then needs check_vma=False"
        )


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
