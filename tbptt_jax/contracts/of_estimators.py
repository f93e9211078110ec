"""What every estimator must hold to, and whether its mean is what it says: the tests behind `tbptt check`.

The unbiasedness tests compare a mean over many keys with the exact gradient, coordinate by coordinate; a correct
estimator fails one of them with a probability below `FALSE_ALARM` (two-sided normal test, Bonferroni over coordinates).
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial, singledispatch
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from tbptt_jax.analysis.evolution import evolution
from tbptt_jax.errors import UserError
from tbptt_jax.estimators.base import Estimator, Truncation, gradient, warmed_up
from tbptt_jax.estimators.gated import GatedEstimator
from tbptt_jax.estimators.laws import Fixed, Independent, Patterns, Renewal
from tbptt_jax.estimators.window import Window
from tbptt_jax.forward import loss
from tbptt_jax.models import Batch
from tbptt_jax.named import Finding
from tbptt_jax.networks import rnn

FALSE_ALARM = 1e-6
SAMPLES = 2**15
ENOUGH = 200  # samples that the spread of a coordinate must come from
LENGTH, BATCH_SIZE, CHUNKS = 6, 2, 2


def check(est: Estimator) -> Iterator[Finding]:
    """Every finding on an estimator, one after the other; nothing raises but a defect of the check itself."""
    tests: tuple[Callable, ...] = (is_a_value, promises, declares_its_abilities, gives_gradients)
    tests += (keeps_its_word_on_a_stream, is_unbiased)
    tests += (sees_the_lags_that_it_says, freezes_its_gates, gates_have_mean_one, gates_follow_their_law)
    tests += (follows_its_noise_law,)
    for test in tests:
        found: list[Finding] = []
        try:
            with jax.default_matmul_precision("highest"):  # not in TF32 or bfloat16, whatever a device does by default
                found += test(est)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            found.append(Finding(test.__name__.replace("_", " "), False, said))
        yield from found


def small_problem():
    """A tanh network of three units: (model, params, batch), the batch `CHUNKS` chunks of `LENGTH` steps."""
    model = rnn("tanh", inputs=2, hidden=3, outputs=2, loss="squared", radius=1.2)
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (CHUNKS * LENGTH, BATCH_SIZE)
    weights = 0.5 + jax.random.uniform(keys[3], shape)
    batch = Batch(jax.random.normal(keys[1], (*shape, 2)), jax.random.normal(keys[2], (*shape, 2)), weights)
    return model, model.init(keys[0]), batch


def chunk(batch: Batch, i: int):
    return jax.tree.map(lambda leaf: leaf[i * LENGTH : (i + 1) * LENGTH], batch)


def is_a_value(est: Any):
    frozen = dataclasses.is_dataclass(est) and getattr(type(est), "__dataclass_params__").frozen  # noqa: B009
    yield Finding(
        "it is a frozen dataclass", frozen, "" if frozen else "decorate the class with @dataclass(frozen=True)"
    )
    yield Finding(
        "it can be hashed and compared", hash(est) == hash(dataclasses.replace(est)) and est == dataclasses.replace(est)
    )
    leaves, structure = jax.tree.flatten(est)
    yield Finding("it survives as a pytree", jax.tree.unflatten(structure, leaves) == est)


def promises(est: Any):
    told = getattr(est, "unbiased", None)
    yield Finding(
        'it declares `unbiased` as "never", "chunk" or "stream"', told in ("never", "chunk", "stream"), repr(told)
    )


def declares_its_abilities(est: Any):
    """What training, analysis and experiments ask of an estimator by attribute is what it does."""
    yield Finding(
        "`shared`, `learns`, `learns_gates`, `carries_more` and `updates_at_cuts` are true or false",
        are_flags(est),
        "see Estimator",
    )
    if est.updates_at_cuts:
        fields = {field.name for field in dataclasses.fields(est)}
        cuts = isinstance(est, GatedEstimator) and isinstance(est.law(LENGTH), Renewal) and "shared" in fields
        yield Finding("it updates at cuts: it is gated, its law is a Renewal, and it has a field `shared`", cuts)
    of_length = est.of_length(4)
    if of_length is not None:
        told = of_length.nominal_length
        fits = told is None or abs(float(told) - 4) < 1e-9
        yield Finding("`nominal_length` gives the tau of `of_length` back", fits, f"of_length(4) says {told}")
    pace = est.pace(8)
    yield Finding("its pace is that of whole chunks", 1 <= pace.steps_an_update <= pace.chunk, str(pace))


def are_flags(est: Any):
    flags = (est.shared, est.learns, est.learns_gates, est.carries_more, est.updates_at_cuts)
    return all(isinstance(flag, bool) for flag in flags)


def gives_gradients(est: Any):
    model, params, batch = small_problem()
    batch = chunk(batch, 0)
    keys = jax.random.split(jax.random.key(1), 3)
    estimated = jax.jit(partial(gradient, est, model, params, batch))
    alone = estimated(keys[1])
    yield Finding(
        "its gradients have the shapes of the parameters, and are finite",
        jax.tree.map(jnp.shape, alone) == jax.tree.map(jnp.shape, params)
        and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(alone)),
    )
    again = estimated(keys[1])
    yield Finding("the same key gives the same estimate", furthest(alone, again) == 0)
    stacked = jax.jit(jax.vmap(estimated))(keys)
    apart = furthest(jax.tree.map(lambda leaf: leaf[1], stacked), alone)
    yield Finding("it can be mapped over keys", apart < 1e-4, f"largest difference {apart:.1e}")


def keeps_its_word_on_a_stream(est: Any):
    model, params, batch = small_problem()

    @jax.jit
    def one_chunk(key):
        carry = est.init(model, params, chunk(batch, 0), key)
        estimate, after = est(model, params, carry, chunk(batch, 0), key)
        anew = est.restart(model, params, after, chunk(batch, 0), key)
        return estimate.loss, loss(model, params, chunk(batch, 0)), carry, after, anew

    ours, exact, carry, after, anew = one_chunk(jax.random.key(1))
    if isinstance(est, Truncation):
        apart = abs(float(ours - exact))
        detail = f"off by {apart:.1e}"
        yield Finding("its loss is the model's: truncation leaves the forward pass alone", apart < 1e-5, detail)
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (carry, after)]
    yield Finding("what it carries keeps its shape from chunk to chunk", shapes[0] == shapes[1])
    structure, sizes = jax.tree.structure(after), [leaf.shape for leaf in jax.tree.leaves(after)]
    state = model.initial_state(params, BATCH_SIZE)
    alone = (structure, sizes) == (jax.tree.structure(state), [leaf.shape for leaf in jax.tree.leaves(state)])
    if est.carries_more:
        yield Finding("it says that it carries more than the model's state, and does", not alone)
    elif not est.learns:
        yield Finding("it carries the model's state alone, as it does not say that it carries more or learns", alone)
    forgets = furthest(carry, anew) == 0
    says = "says that it learns, and keeps" if est.learns else "does not say that it learns, and keeps nothing of"
    yield Finding(f"it {says} what it saw when it restarts", forgets != est.learns)


def over_the_stream(est: Any, length: int, key: Array) -> Array:
    """An estimate of the gradient of the whole stream's loss, put together from its chunks by their weights."""
    model, params, batch = small_problem()
    parts = jax.tree.map(lambda leaf: leaf.reshape(-1, length, *leaf.shape[1:]), batch)
    start, *keys = jax.random.split(key, len(parts.weights) + 1)

    def one(carry, now):
        part, key = now
        estimate, carry = est(model, params, carry, part, key)
        return carry, flat(estimate.grads) * jnp.sum(part.weights)

    carry = est.init(model, params, jax.tree.map(lambda leaf: leaf[0], parts), start)
    _, estimates = jax.lax.scan(one, carry, (parts, jnp.stack(keys)))
    return jnp.sum(estimates, axis=0) / jnp.sum(batch.weights)


def is_unbiased(est: Any):
    model, params, batch = small_problem()

    def of_one_chunk(key):
        return flat(gradient(est, model, params, chunk(batch, 0), key))

    across = est.unbiased == "stream"
    gradient_of = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)
    exact = flat(gradient_of(model, params, batch if across else chunk(batch, 0)))
    samples = sample(partial(over_the_stream, est, LENGTH) if across else of_one_chunk)
    verdict, detail = compare_means(samples, np.asarray(exact, np.float64))
    scope = "stream" if across else "chunk"
    if est.unbiased == "never":
        yield Finding(f"its mean is the exact gradient of a {scope} (not promised)", None, detail)
    else:
        yield Finding(f"its mean is the exact gradient of a {scope}", verdict, detail)


def sees_the_lags_that_it_says(est: Any):
    lags = est.lags(LENGTH)
    if lags is None:
        return
    model, params, batch = small_problem()
    sides = (gradient(one, model, params, chunk(batch, 0), jax.random.key(1)) for one in (est, Window(int(lags))))
    apart = furthest(*sides)
    yield Finding(f"every loss sees {int(lags)} lags, as `lags` says", apart < 1e-5, f"off by {apart:.1e}")


def freezes_its_gates(est: Any):
    """What is learned has a law that `exact` knows, with the mean that was asked for."""
    if not est.learns_gates:
        return
    model, params, batch = small_problem()
    carry = warmed_up(est, model, params, chunk(batch, 0), jax.random.key(1), 3)
    law = est.frozen(carry, LENGTH).law(LENGTH)
    if not isinstance(law, Independent):
        yield Finding("the gates that it has learned are independent", False, f"{law!r:.80}")
        return
    kept = float(np.mean(1 / (1 + np.asarray(law.variance)[1:])))
    fits = abs(kept - float(est.keep)) < 1e-3
    yield Finding("the gates that it has learned are open `keep` of the time", fits, f"{kept:.3f} for {est.keep}")


def gates_have_mean_one(est: Any):
    """Sharper than gradients: credit from any step to any earlier one must arrive with a mean factor of 1."""
    if not isinstance(est, GatedEstimator) or est.unbiased == "never" or est.sees_inputs:
        return  # what depends on the inputs is seen in the mean of the gradients alone
    draw = jax.jit(jax.vmap(lambda key: est.gates(key, LENGTH, 1)[1:, 0]))
    gates = draw(jax.random.split(jax.random.key(3), 8 * SAMPLES))
    spans = [(i, j) for i in range(LENGTH - 1) for j in range(i + 1, LENGTH)]
    products = np.stack([np.prod(np.asarray(gates, np.float64)[:, i:j], axis=1) for i, j in spans], axis=1)
    seen = np.sum(products != 0, axis=0) >= ENOUGH  # what is hardly ever seen says nothing of its mean
    yield Finding("the products of its gates have mean 1", *compare_means(products[:, seen], np.ones(seen.sum())))


def gates_follow_their_law(est: Any):
    """`exact` computes with the law: the mean and the square of every gate are what it says."""
    law = est.law(LENGTH) if isinstance(est, GatedEstimator) and not (est.sees_inputs or est.sees_states) else None
    if law is None:
        return
    key = jax.random.key(4)
    draw = jax.jit(jax.vmap(lambda key: est.gates(key, LENGTH, 1)[1:, 0]))
    gates = np.asarray(draw(jax.random.split(key, 8 * SAMPLES)), np.float64)
    if isinstance(law, Fixed):
        yield Finding("its gates are always the same, as its law says", bool(np.all(gates == gates[0])))
        return
    mean, square = moments_of_gates(law)
    sentence = "the means and squares of its gates are those of its law"
    yield Finding(sentence, *compare_means(np.concatenate([gates, gates**2], axis=1), np.concatenate([mean, square])))


@singledispatch
def moments_of_gates(law: Any) -> tuple[np.ndarray, np.ndarray]:
    """The means of the gates after the first step, and of their squares, by a law."""
    raise UserError(f"law: the moments of its gates are not known, of {law!r:.80}")


@moments_of_gates.register
def _(law: Independent) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = (np.asarray(part, np.float64)[1:] for part in law)
    return mean, variance + mean**2


@moments_of_gates.register
def _(law: Renewal) -> tuple[np.ndarray, np.ndarray]:
    cut, kept = (np.asarray(part, np.float64) for part in law)
    age, moments = np.eye(LENGTH)[0], []
    for _ in range(LENGTH - 1):  # how likely the segment has lasted 1, 2, … steps before each step
        moments.append([age @ ((1 - cut) * kept), age @ ((1 - cut) * kept**2)])
        age = np.concatenate([[age @ cut], (age * (1 - cut))[:-1]])
    first, second = np.transpose(moments)
    return first, second


@moments_of_gates.register
def _(law: Patterns) -> tuple[np.ndarray, np.ndarray]:
    gates, chances = (np.asarray(part, np.float64) for part in law)
    return chances @ gates[:, 1:], chances @ gates[:, 1:] ** 2


def follows_its_noise_law(est: Any):
    """`exact.evolution` computes with it, as sigma goes to 0: the variance of a stream's estimate is what it says."""
    if est.noise_law() is None or est.chunks is not None:
        return
    sigma = {"sigma": 1e-2} if "sigma" in {field.name for field in dataclasses.fields(est)} else {}
    length = LENGTH // 2
    samples = sample(partial(over_the_stream, dataclasses.replace(est, **sigma), length))
    exact = float(evolution(est, *small_problem(), length).variance)
    squares = np.sum((samples - samples.mean(0)) ** 2, axis=1)
    found, error = squares.mean(), squares.std() / len(squares) ** 0.5
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / 2)
    fits = abs(found - exact) < limit * error + 0.01 * exact  # of the second order in sigma
    detail = f"{found:.3g} of {len(squares)} samples, standard error {error:.1g}, for {exact:.3g}"
    yield Finding("its variance over a stream is that of its noise law", bool(fits), detail)


def sample(estimate: Callable) -> np.ndarray:
    """`SAMPLES` draws of a flat estimate, in float64."""
    draw = jax.jit(jax.vmap(estimate))
    keys = jax.random.split(jax.random.key(2), SAMPLES).reshape(8, -1)
    return np.concatenate([np.asarray(draw(part), np.float64) for part in keys])


def compare_means(samples: Any, exact: Any) -> tuple[bool | None, str]:
    """Whether the mean of the samples `[N, P]` may be `exact` `[P]`, and the coordinate where it fits worst.

    Coordinates whose spread comes from a few large samples are left out: their mean is not yet normally distributed.
    """
    away = samples - samples.mean(0)
    fourth = np.sum(away**4, axis=0)
    effective = np.where(fourth > 0, np.sum(away**2, axis=0) ** 2 / np.where(fourth > 0, fourth, 1), len(samples))
    samples, exact = samples[:, effective >= ENOUGH], exact[effective >= ENOUGH]
    if not len(exact):
        return None, f"{len(away)} samples are too few: the spread comes from a handful of them"
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * samples.shape[1]))
    error = np.abs(samples.mean(0) - exact)
    rounding = 1e-5 * (np.abs(exact) + np.abs(exact).max())
    standard_error = samples.std(0, ddof=1) / len(samples) ** 0.5
    z = error / (standard_error + rounding / limit)
    worst = int(np.argmax(z))
    detail = (
        f"worst of {len(exact)} coordinates: mean {samples.mean(0)[worst]:.5f} of {len(samples)} samples, exact "
        f"{exact[worst]:.5f}, standard error {standard_error[worst]:.5f}: |z| = {z[worst]:.1f}, limit {limit:.1f}"
    )
    return bool(z[worst] <= limit), detail


def furthest(a: Any, b: Any) -> float:
    return float(np.max([np.max(np.abs(x - 1.0 * y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))]))


def flat(tree: PyTree):
    return ravel_pytree(tree)[0]
