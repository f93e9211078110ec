"""The exact mean and the exact variance of an estimator whose gates have a known law, without sampling.

Total variance is Σ_params Var. Independent gates: reveal them from the last to the first; each reveals a martingale
difference (gate_t − m_t) S̄_{t−1}ᵀ d_t, d_t = J_tᵀ δ_t − s_{t−1} what a critic (or 0) has not foreseen, so that

    variance = Σ_t v_t tr(Q_t E[d_t d_tᵀ]),    Q_t = S̄_{t−1} S̄_{t−1}ᵀ,    S̄_t = F_t + m_t J_t S̄_{t−1},

and the first two moments of δ_{t−1} = e_{t−1} + s_{t−1} + gate_t d_t follow from those of δ_t, since the gate is
independent of them.

Renewal gates (ARTBP): within a segment everything is determined by its first step, so the estimate is a sum of
independent pieces g(i, j), the losses i..j−1 backpropagated to step i, along a Markov chain of segment starts. The
chain is walked once, carrying for each start the probability and the first two moments of what came before.

State and parameters are flattened: H numbers a sequence, or B·H where gates are shared by a batch, P parameters;
memory is that of one influence matrix [H, P], time that of T products with it, and of T²/2 for renewal gates: small
models, short batches.
"""

from collections.abc import Callable
from functools import partial, singledispatch, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.analysis.foreseen import foreseen, predictor
from tbptt_jax.analysis.precision import exactly
from tbptt_jax.critics.base import Critic
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator, cut_estimate, require_estimator
from tbptt_jax.estimators.laws import Fixed, Independent, Law, Patterns, Renewal
from tbptt_jax.estimators.predicted import estimate_across
from tbptt_jax.gradients.cuts.kinds import Gates
from tbptt_jax.gradients.cuts.lags import Trajectory, trajectory
from tbptt_jax.gradients.influence.dynamics import Dynamics
from tbptt_jax.models import Batch, Model, Params, sequence_shape, takes_resets


def compiled(function: Callable) -> Callable:
    """The function, compiled once for each estimator and model. It runs as it is where the estimator holds arrays,
    which are numbers of a program that is being traced, or a critic that has learned."""
    made = jax.jit(function, static_argnums=(0, 1))

    @wraps(function)
    def called(est: Estimator, model: Model, params: Params, batch: Batch) -> Any:
        require_estimator(est)
        try:
            hash(est)
        except TypeError:
            return function(est, model, params, batch)
        return made(est, model, params, batch)

    return called


@exactly
@takes_resets
@compiled
def expected_gradient(est: Estimator, model: Model, params: Params, batch: Batch) -> PyTree:
    """E[estimate], exactly, of an estimator whose law is known.

    Args:
        est: The estimator; a law of your own is registered with `mean_under`.
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`.

    Returns:
        The mean, shaped as the parameters.
    """
    return mean_under(known_law(est, sequence_shape(batch)[0], "expected_gradient"), est, model, params, batch)


@exactly
@takes_resets
@compiled
def variance(est: Estimator, model: Model, params: Params, batch: Batch) -> Float[Array, ""]:
    """Σ_params Var(estimate), exactly, of an estimator whose law is known.

    Args:
        est: The estimator; a law of your own is registered with `variance_under`.
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`, which are held: the variance is that of the draws alone.

    Returns:
        The variance, a number.
    """
    return variance_under(known_law(est, sequence_shape(batch)[0], "variance"), est, model, params, batch)


@singledispatch
def mean_under(law: Law, est: Estimator, model: Model, params: Params, batch: Batch) -> PyTree:
    """E[estimate] where gates have this law: one function a law."""
    raise UserError(f"expected_gradient: no closed form is known for the law {type(law).__name__} of {est}")


@singledispatch
def variance_under(law: Law, est: Estimator, model: Model, params: Params, batch: Batch) -> Float[Array, ""]:
    """Σ_params Var(estimate) where gates have this law: one function a law."""
    raise UserError(f"variance: no closed form is known for the law {type(law).__name__} of {est}")


@mean_under.register
def _(law: Fixed, est: Estimator, model: Model, params: Params, batch: Batch):
    return est(model, params, est.init(model, params, batch, None), batch, None)[0].grads


@variance_under.register
def _(law: Fixed, est: Estimator, model: Model, params: Params, batch: Batch):
    return jnp.zeros(())


@mean_under.register
def _(law: Independent, est: Estimator, model: Model, params: Params, batch: Batch):
    return gradient_with_gates(est, model, params, batch, law.mean)


@variance_under.register
def _(law: Independent, est: Estimator, model: Model, params: Params, batch: Batch):
    return jnp.sum(gate_variances(est, model, params, batch))


@mean_under.register
def _(law: Patterns, est: Estimator, model: Model, params: Params, batch: Batch):
    stacked = jax.vmap(partial(gradient_with_gates, est, model, params, batch))(law.gates)
    return jax.tree.map(lambda leaf: jnp.tensordot(law.probabilities, leaf, 1), stacked)


@variance_under.register
def _(law: Patterns, est: Estimator, model: Model, params: Params, batch: Batch):
    stacked = jax.vmap(partial(gradient_with_gates, est, model, params, batch))(law.gates)
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(stacked)
    mean = law.probabilities @ flat
    return law.probabilities @ jnp.sum((flat - mean) ** 2, axis=1)


@mean_under.register
def _(law: Renewal, est: Estimator, model: Model, params: Params, batch: Batch):
    without_critic(est, "expected_gradient")
    run = trajectory(model, params, batch)
    means, _ = over_sequences(partial(renewal_moments, law), model, params, batch, shared=False)
    through_states = dynamics_of(model, params, run, batch, together=False).gradient(means)
    return jax.tree.map(jnp.add, run.readout, through_states)


@variance_under.register
def _(law: Renewal, est: Estimator, model: Model, params: Params, batch: Batch):
    without_critic(est, "variance")
    return over_sequences(partial(renewal_moments, law), model, params, batch, est.shared)[1]


@exactly
@takes_resets
@compiled
def gate_variances(est: Estimator, model: Model, params: Params, batch: Batch) -> Float[Array, " T"]:
    """The share of each step's gate in the variance of an estimator with independent gates.

    Args:
        est: The estimator; its law is `Independent`.
        model: The model.
        params: Its parameters.
        batch: Sequences `[T, B, ...]`.

    Returns:
        The shares `[T]`, whose sum is the variance.
    """
    length, _ = sequence_shape(batch)
    law = known_law(est, length, "gate_variances")
    if not isinstance(law, Independent):
        raise UserError(f"gate_variances: independent gates are needed, {est} has others")
    return over_sequences(partial(independent_variances, law), model, params, batch, est.shared, est.critic)


def known_law(est: Estimator, length: int, asked: str):
    law = est.law(length)
    if law is None:
        raise UserError(f"{asked}: no closed form is known for {est}; use measure, which samples")
    return law


def gradient_with_gates(
    est: Estimator, model: Model, params: Params, batch: Batch, gates: Float[Array, " T"]
) -> PyTree:
    """The gradient of the loss with given gates, the same for all sequences."""
    start = model.initial_state(params, sequence_shape(batch)[1])
    critic = est.critic
    if critic is None:
        return cut_estimate(Gates(gates), model, params, start, batch)[0].grads
    stacked = jnp.broadcast_to(gates[:, None], sequence_shape(batch))
    predict = predictor(critic, start)
    estimated = estimate_across(Gates(stacked), stacked, predict, model, params, start, batch, beyond=critic.beyond)
    return estimated[0].grads


def without_critic(est: Estimator, asked: str) -> None:
    if est.critic is not None:
        raise UserError(f"{asked}: no closed form is known for cuts by a renewal law with a critic; got {est}")


def over_sequences(
    moments: Callable, model: Model, params: Params, batch: Batch, shared: bool, critic: Critic | None = None
) -> PyTree:
    """Sum what `moments(jacobians, own credit [T, H], foreseen credit [T, H])` gives over the sequences, or take the
    batch as one sequence.

    `jacobians(t)` is (J_t `[H, H]`, F_t `[H, P]`) by the flattened state and the parameters that a step depends on.
    """
    one, parts = sequence_by_sequence(moments, model, params, batch, shared, critic)
    if shared:
        return one(parts)
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), lax.map(one, parts))


def sequence_by_sequence(
    moments: Callable, model: Model, params: Params, batch: Batch, shared: bool, critic: Critic | None = None
) -> tuple[Callable, PyTree]:
    """The function that gives what `over_sequences` sums, and the pytree of its arguments, whose leading axis is the
    sequences. It is called with one entry of these, or with all where the batch is taken as one sequence."""
    run = trajectory(model, params, batch)
    dynamics = dynamics_of(model, params, run, batch, together=shared)

    def one(part):
        before, inputs, own_credit, predicted = part

        def jacobians(t):
            step = dynamics.at(*jax.tree.map(lambda leaf: leaf[t], (before, inputs)))
            return step.jacobian(), step.direct()

        rows = [jax.vmap(lambda tree: ravel_pytree(tree)[0])(part) for part in (own_credit, predicted)]
        return moments(jacobians, *rows)

    predicted, more = foreseen(critic, run, batch)
    parts = run.before, batch.inputs, [jnp.add(*pair) for pair in zip(run.own_credit, more)], predicted
    return one, parts if shared else jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), parts)


def dynamics_of(model: Model, params: Params, run: Trajectory, batch: Batch, *, together: bool) -> Dynamics:
    """The steps of the sequences of a batch, or of all of them taken as one."""
    place = (lambda leaf: leaf[0]) if together else (lambda leaf: leaf[0, 0])
    return Dynamics(model, params, *jax.tree.map(place, (run.before, batch.inputs)), together=together)


def independent_variances(
    law: Independent, jacobians: Callable, own_credit: Array, predicted: Array
) -> Float[Array, " T"]:
    length, size = own_credit.shape
    law = jax.tree.map(lambda leaf: leaf.astype(own_credit.dtype), law)

    def forward(s_bar, t):
        jacobian, direct = jacobians(t)
        return direct + law.mean[t] * (jacobian @ s_bar), (jacobian, s_bar @ s_bar.T)

    direct = jax.eval_shape(lambda: jacobians(0)[1])
    _, (jacobian, q) = lax.scan(forward, jnp.zeros(direct.shape, direct.dtype), jnp.arange(length))

    def backward(later, t):
        """The first two moments of the credit that step t + 1 passes back to h_t, to those of step t."""
        mu, second = later
        e, s = own_credit[t], predicted[t]
        moment = jnp.outer(e, e) + jnp.outer(e, mu[0]) + jnp.outer(mu[0], e) + second  # of δ_t
        pulled = jacobian[t].T @ (e + mu[0])
        unforeseen = pulled - s
        spread = jacobian[t].T @ moment @ jacobian[t] - jnp.outer(pulled, pulled) + jnp.outer(unforeseen, unforeseen)
        mean = s + law.mean[t] * unforeseen
        varied = (law.mean[t] ** 2 + law.variance[t]) * spread - law.mean[t] ** 2 * jnp.outer(unforeseen, unforeseen)
        return (mean[None], jnp.outer(mean, mean) + varied), law.variance[t] * jnp.sum(q[t] * spread)

    start = jnp.zeros((1, size), own_credit.dtype), jnp.zeros((size, size), own_credit.dtype)
    _, shares = lax.scan(backward, start, jnp.arange(length), reverse=True)
    return shares


def renewal_moments(
    law: Renewal, jacobians: Callable, own_credit: Array, predicted: Array
) -> tuple[Float[Array, " P"], Float[Array, ""]]:
    """(mean, total variance) of Σ_t F_tᵀ δ_t when segments are cut by a renewal law.

    For a segment that starts at step i, `pieces` walks j = i+1..T (0-based, T the end) and gives what the losses
    i..j−1 contribute, with the probability that the next segment starts at j.
    """
    length, _ = own_credit.shape
    law = jax.tree.map(lambda leaf: leaf.astype(own_credit.dtype), law)
    direct = jax.eval_shape(lambda: jacobians(0)[1])
    width, dtype = direct.shape[1], own_credit.dtype

    def walk(moments, i):
        start_probability, start_mean, start_second = moments  # of step i: P, E[g; start], E[‖g‖²; start], g so far

        def extend(t, segment):
            influence, piece, alive, sums = segment
            jacobian, direct = jacobians(t)
            age = jnp.maximum(t - i, 1) - 1  # index of the law at the gate before step t
            kept = jnp.where(t > i, law.kept[age], 0.0)
            influence = direct + kept * (jacobian @ influence)
            piece = piece + own_credit[t] @ influence
            ends = jnp.where(t == length - 1, 1.0, law.cut[jnp.minimum(t - i, length - 1)])
            leaves = alive * ends
            probability, mean, second = sums
            mine, before, squares = start_probability[i], start_mean[i], start_second[i]
            sums = (
                probability.at[t + 1].add(leaves * mine),
                mean.at[t + 1].add(leaves * (before + mine * piece)),
                second.at[t + 1].add(leaves * (squares + 2 * before @ piece + mine * piece @ piece)),
            )
            return influence, piece, alive - leaves, sums

        fresh = jnp.zeros(direct.shape, dtype), jnp.zeros(width, dtype), jnp.ones((), dtype), moments
        return lax.fori_loop(i, length, extend, fresh)[3], None

    start = (
        jnp.zeros(length + 1, dtype).at[0].set(1.0),
        jnp.zeros((length + 1, width), dtype),
        jnp.zeros(length + 1, dtype),
    )
    (_, mean, second), _ = lax.scan(walk, start, jnp.arange(length))
    return mean[length], second[length] - mean[length] @ mean[length]
