"""The variance of perturbing estimators against the length of their unrolls, on streams of two kinds.

A stream of fixed length is cut into chunks of K steps, with one estimate of its gradient a chunk, parameters held; the
estimate of the stream's gradient is their mean. PES adds up its noise over the chunks. Where the gradients of all
chunks are alike, that is many directions tried for one gradient; where they are not, it is noise from other chunks.
"""

from functools import partial

import jax
import jax.numpy as jnp
import polars as pl
from jax.flatten_util import ravel_pytree

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.plots.pes_variance import draw

HIDDEN, BATCH = 8, 1


def stream(kind, steps, key):
    """(model, params, the whole stream as a batch): lines of random symbols, or one symbol all along."""
    task = tb.Brackets(length=steps, batch_size=BATCH)
    batch, _, _ = task.chunk(task.start(key))
    if kind == "constant":
        batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), batch)
    model = task.model("tanh", HIDDEN)
    return model, model.init(jax.random.fold_in(key, 1)), batch


def measure(config, key):
    steps, unroll = config["steps"], config["unroll"]
    model, params, batch = stream(config["stream"], steps, jax.random.key(1))
    est = tb.make_estimator(config["estimator"])
    exact = ravel_pytree(jax.jit(jax.grad(tb.loss, 1), static_argnums=0)(model, params, batch))[0]
    chunks = jax.tree.map(lambda leaf: leaf.reshape(steps // unroll, unroll, *leaf.shape[1:]), batch)

    def estimate(key):
        carry = est.init(model, params, BATCH, key)

        def one(carry, now):
            chunk, key = now
            estimate, carry = est(model, params, carry, chunk, key)
            return carry, ravel_pytree(estimate.grads)[0]

        keys = jax.random.split(jax.random.fold_in(key, 1), steps // unroll)
        return jnp.mean(jax.lax.scan(one, carry, (chunks, keys))[1], axis=0)

    @partial(jax.jit, static_argnums=1)
    def sampled(key, samples):
        estimates = jax.lax.map(estimate, jax.random.split(key, samples), batch_size=64)
        mean = jnp.mean(estimates, axis=0)
        variance = jnp.sum((estimates - mean) ** 2) / (samples - 1)
        squares = jnp.sum((estimates - mean) ** 2, axis=1)
        error = jnp.std(squares) / jnp.sqrt(samples)
        bias = jnp.sum((mean - exact) ** 2) - variance / samples
        return variance, error, bias, jnp.sum(exact**2)

    variance, error, bias, norm = map(float, sampled(key, config["samples"]))
    row = {"variance": variance / norm, "error": 1.96 * error / norm, "squared_bias": bias / norm}
    return [row | {"bias_noise": 2 * variance / norm / config["samples"]}]


def curve(table, kind, name):
    rows = table.filter((pl.col("stream") == kind) & pl.col("estimator").str.starts_with(name + "(")).sort("unroll")
    if rows.height < 2:
        raise ValueError(f"{name} was not measured on the {kind} stream")
    return rows


def said(rows):
    return " → ".join(f"{value:.3g} ± {error:.1g}" for value, error in rows.select("variance", "error").iter_rows())


def falls(rows, sign):
    """Whether the variance falls (+1) or rises (−1) from the shortest unroll to the longest, beyond both intervals."""
    first, last, errors = rows["variance"][0], rows["variance"][-1], rows["error"][0] + rows["error"][-1]
    figure = f"variance / ‖g‖² for unrolls of {', '.join(map(str, rows['unroll']))}: {said(rows)}"
    if abs(first - last) <= errors:
        return Verdict("undecided", figure)
    return Verdict("reproduced" if sign * (first - last) > 0 else "not reproduced", figure)


def pes_on_random_text(table):
    return falls(curve(table, "random", "pes"), 1)


def pes_on_a_constant_stream(table):
    return falls(curve(table, "constant", "pes"), -1)


def nres_has_less(table):
    found, less, more, count = [], 0, 0, 0
    for kind in ("random", "constant"):
        pes, nres = curve(table, kind, "pes"), curve(table, kind, "nres")
        both = pes.join(nres, on="unroll", suffix="_nres").sort("unroll").filter(pl.col("unroll") < pl.col("steps"))
        errors, apart = pl.col("error") + pl.col("error_nres"), pl.col("variance") - pl.col("variance_nres")
        less += both.filter(apart > errors).height
        more += both.filter(apart < -errors).height
        count += both.height
        found.append(f"{kind}: nres {said(nres)}, pes {said(pes)}")
    figure = f"less in {less} of {count}, more in {more}, beyond both intervals; {'; '.join(found)}"
    outcome = "not reproduced" if more else "reproduced" if less >= 0.9 * count else "undecided"
    return Verdict(outcome, figure)


def truncated_es_is_biased(table):
    """A bias is seen where its square is beyond 5 times the noise that it has without one."""
    rows = table.filter(pl.col("unroll") < pl.col("steps"))
    seen = pl.col("squared_bias") > 5 * pl.col("bias_noise")
    biased = rows.filter(pl.col("estimator").str.starts_with("truncated_es"))
    fair = rows.filter(pl.col("estimator").str.contains("^(pes|nres)"))
    clear, wrong = biased.filter(seen).height, fair.filter(seen).height
    figure = (
        f"bias² beyond 5 times its noise: truncated_es in {clear} of {biased.height}, pes and nres in {wrong} of "
        f"{fair.height}, whose noise is {fair['bias_noise'].median():.2g} ‖g‖² in the middle"
    )
    good = clear >= 0.75 * biased.height and not wrong
    return Verdict("not reproduced" if wrong else "reproduced" if good else "undecided", figure)


VICOL = "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies"
LI = "Li et al. 2023, Noise-reuse in online evolution strategies"
ESTIMATORS = [f"{name}(particles=1)" for name in ("truncated_es", "pes", "nres")]
AXES = {"stream": ["random", "constant"], "estimator": ESTIMATORS}
experiment = Experiment(
    name="pes_variance",
    source=VICOL,
    summary="the variance of ES, PES and NRES against the length of their unrolls",
    axes={
        "smoke": AXES | {"unroll": [1, 4, 16, 64], "steps": 64, "samples": 2**12},
        "default": AXES | {"unroll": [1, 2, 4, 8, 16, 32, 64, 128], "steps": 128, "samples": 2**14},
        "paper": AXES | {"unroll": [1, 10, 100, 1000], "steps": 1000, "samples": 2**18},
    },
    measure=measure,
    plot=draw,
    claims=(
        Claim(
            "The variance of PES grows with the number of unrolls, where these are random.", VICOL, pes_on_random_text
        ),
        Claim("It falls with their number, where they are all alike.", VICOL, pes_on_a_constant_stream),
        Claim("Reusing the noise has less variance than drawing it anew for every chunk.", LI, nres_has_less),
        Claim("Truncated ES is biased, PES and NRES are not.", VICOL, truncated_es_is_biased),
    ),
)
