"""The exact mean and the exact variance of an estimator whose gates have a known law, without sampling.

Total variance is Σ_params Var. Independent gates: reveal them from the last to the first; each reveals a martingale
difference (gate_t − m_t) S̄_{t−1}ᵀ J_tᵀ δ_t, so that

    variance = Σ_t v_t tr(Q_t M_t),    Q_t = (J_t S̄_{t−1})(J_t S̄_{t−1})ᵀ,    S̄_t = F_t + m_t J_t S̄_{t−1},
    M_t = E[δ_t δ_tᵀ] = e_t e_tᵀ + m_{t+1}(e_t μᵀ + μ e_tᵀ) + (m_{t+1}² + v_{t+1}) J_{t+1}ᵀ M_{t+1} J_{t+1},
    μ = J_{t+1}ᵀ E[δ_{t+1}].

Renewal gates (ARTBP): within a segment everything is determined by its first step, so the estimate is a sum of
independent pieces g(i, j), the losses i..j−1 backpropagated to step i, along a Markov chain of segment starts. The
chain is walked once, carrying for each start the probability and the first two moments of what came before.

State and parameters are flattened: H numbers a sequence, or B·H where the gates are shared by a batch, P parameters;
memory is that of one influence matrix [H, P], time that of T products with it, and of T²/2 for renewal gates: small
models, short batches.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from tbptt_jax.estimators.base import Estimator
from tbptt_jax.estimators.laws import Fixed, Independent, Patterns, Renewal
from tbptt_jax.gradients.cuts import Gates
from tbptt_jax.gradients.lags import unroll
from tbptt_jax.gradients.leaves import floats, with_floats
from tbptt_jax.gradients.scan import cut_scan
from tbptt_jax.model import Batch, Model, Params, loss_of_states, sequence_shape


def expected_gradient(est: Estimator, model: Model, params: Params, batch: Batch) -> PyTree:
    """E[estimate]; for an estimator whose law is not known, an error that says what to do instead."""
    length, batch_size = sequence_shape(batch)
    law = known_law(est, length, "expected_gradient")
    if isinstance(law, Fixed):
        return est(model, params, model.initial_state(params, batch_size), batch, None)[0].grads
    if isinstance(law, Independent):
        return gradient_with_gates(model, params, batch, law.mean)
    if isinstance(law, Patterns):
        stacked = jax.vmap(partial(gradient_with_gates, model, params, batch))(law.gates)
        return jax.tree.map(lambda leaf: jnp.tensordot(law.probabilities, leaf, 1), stacked)
    readout, unravel = ravel_pytree(unroll(model, params, batch).readout)
    means, _ = over_sequences(partial(renewal_moments, law), model, params, batch, shared=False)
    return unravel(readout + means)


def variance(est: Estimator, model: Model, params: Params, batch: Batch) -> Float[Array, ""]:
    """Σ_params Var(estimate); for an estimator whose law is not known, an error that says what to do instead."""
    length, _ = sequence_shape(batch)
    law = known_law(est, length, "variance")
    if isinstance(law, Fixed):
        return jnp.zeros(())
    if isinstance(law, Patterns):
        stacked = jax.vmap(partial(gradient_with_gates, model, params, batch))(law.gates)
        flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(stacked)
        mean = law.probabilities @ flat
        return law.probabilities @ jnp.sum((flat - mean) ** 2, axis=1)
    if isinstance(law, Independent):
        return jnp.sum(gate_variances(est, model, params, batch))
    _, variances = over_sequences(partial(renewal_moments, law), model, params, batch, is_shared(est))
    return variances


def gate_variances(est: Estimator, model: Model, params: Params, batch: Batch) -> Float[Array, "T"]:
    """The share of each step's gate in the variance of an estimator with independent gates."""
    length, _ = sequence_shape(batch)
    law = known_law(est, length, "gate_variances")
    if not isinstance(law, Independent):
        raise ValueError(f"gate_variances: independent gates are needed, {est} has others")
    return over_sequences(partial(independent_variances, law), model, params, batch, is_shared(est))


def known_law(est, length, asked):
    law = est.law(length)
    if law is None:
        raise ValueError(f"{asked}: no closed form is known for {est}; use measure, which samples")
    return law


def is_shared(est) -> bool:
    return bool(getattr(est, "shared", False))


def gradient_with_gates(model, params, batch, gates):
    """The gradient of the loss with given gates `[T]`, the same for all sequences."""
    _, batch_size = sequence_shape(batch)

    def loss(params):
        def step(state, x):
            state = model.step(params, state, x)
            return state, state

        start = lax.stop_gradient(model.initial_state(params, batch_size))
        _, states = cut_scan(step, start, batch.inputs, Gates(gates))
        return loss_of_states(model, params, states, batch)

    return jax.grad(loss)(params)


def over_sequences(moments, model, params, batch, shared):
    """Sum what `moments(jacobians, own credit [T, H])` gives over the sequences, or take the batch as one sequence.

    `jacobians(t)` is (J_t `[H, H]`, F_t `[H, P]`) by the flattened state and parameters.
    """
    run = unroll(model, params, batch)
    flat_params, unravel_params = ravel_pytree(params)
    split = partial(jnp.expand_dims, axis=0) if shared else (lambda leaf: jnp.moveaxis(leaf, 1, 0)[:, :, None])

    def one(before, inputs, own_credit):
        def flat_step(flat_params, moving, state, x):
            _, restore = ravel_pytree(floats(state))
            return ravel_pytree(
                floats(model.step(unravel_params(flat_params), with_floats(state, restore(moving)), x))
            )[0]

        def jacobians(t):
            state, x = jax.tree.map(lambda leaf: leaf[t], (before, inputs))
            moving = ravel_pytree(floats(state))[0]
            return (
                jax.jacrev(flat_step, 1)(flat_params, moving, state, x),
                jax.jacrev(flat_step, 0)(flat_params, moving, state, x),
            )

        return moments(jacobians, jax.vmap(lambda leaves: ravel_pytree(leaves)[0])(own_credit))

    parts = jax.tree.map(split, (run.before, batch.inputs, run.own_credit))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), lax.map(lambda part: one(*part), parts))


def independent_variances(law: Independent, jacobians, own_credit) -> Float[Array, "T"]:
    length, size = own_credit.shape
    law = jax.tree.map(lambda leaf: leaf.astype(own_credit.dtype), law)

    def forward(s_bar, t):
        jacobian, direct = jacobians(t)
        crossed = jacobian @ s_bar
        return direct + law.mean[t] * crossed, (jacobian, crossed @ crossed.T)

    direct = jax.eval_shape(lambda: jacobians(0)[1])
    _, (jacobian, q) = lax.scan(forward, jnp.zeros(direct.shape, direct.dtype), jnp.arange(length))

    def backward(later, t):
        """(E δ, E δδᵀ) of the step after t, as credit on h_t through that step, to those of t."""
        mu, second = later
        e = own_credit[t]
        mean = e + mu[0]
        moment = jnp.outer(e, e) + jnp.outer(e, mu[0]) + jnp.outer(mu[0], e) + second
        share = law.variance[t] * jnp.sum(q[t] * moment)
        through = jacobian[t].T @ mean
        passed = (law.mean[t] ** 2 + law.variance[t]) * (jacobian[t].T @ moment @ jacobian[t])
        return ((law.mean[t] * through)[None], passed), share

    start = jnp.zeros((1, size), own_credit.dtype), jnp.zeros((size, size), own_credit.dtype)
    _, shares = lax.scan(backward, start, jnp.arange(length), reverse=True)
    return shares


def renewal_moments(law: Renewal, jacobians, own_credit) -> tuple[Float[Array, "P"], Float[Array, ""]]:
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
