"""A system whose parameter helps at once and harms in the long run: a gradient that looks back too little climbs.

The response of s¹ to θ over K lags rises to K = 19, is negative from K = 41 and −6 in the end, so that truncation
points the wrong way until it sees 41 lags: windows from τ = 41 on, segments, whose losses see 0..τ−1 lags, from
τ = 110. The slope of an estimator is its mean gradient over (s¹ − 1) at the fixed point of the first θ.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Claim, Experiment, Verdict
from tbptt_jax.lab.grid import estimator_of
from tbptt_jax.lab.learning import at_best_rate, learning_rows
from tbptt_jax.plots.influence_balancing import draw

BEST = -1 / 6
RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
NEAR, FAR = 0.01, 1e3  # a distance from the best θ at which it counts as arrived, and the largest that is shown
GROUP = ["estimator", "tau", "length"]
TAUS = [2, 10, 19, 30, 40, 41, 60, 100, 109, 110, 150, 200]
SHORT = 10  # steps of a chunk, which show who sees across chunks
PARTICLES = "sigma=0.1, particles=64"
OTHERS = [
    *("full()", "randomized(keep=0.9)", "randomized(keep=0.98)", "artbp(length=10)", "artbp(length=50)"),
    *("optimal(keep=0.9)", "telescope()", "adaptive(delta=0.5, longest=64)"),
    *("rtrl()", "snap()", "rflo()", "uoro()", "forward_gradient(directions=8)"),
    *(
        f"es({PARTICLES})",
        f"truncated_es({PARTICLES})",
        f"pes({PARTICLES}, chunks=20)",
        f"nres({PARTICLES}, chunks=20)",
    ),
]
# from chunk to chunk; what snap keeps is all of it here, where the one parameter acts on every unit
CARRYING = ["rtrl", "snap", "uoro", "pes", "nres"]


def makes_sense(config):
    """Truncation has chunks of its own lengths."""
    return "tau" not in config or config["length"] != SHORT


def task_for(est, config):
    """Chunks in which each loss sees what the estimator lets it see: whole segments, and windows that are full."""
    length, tau = config["length"], config.get("tau", 1)
    if isinstance(est, tb.WindowedEstimator):
        return tb.InfluenceBalancing(length // 10 + tau - 1, skipped=tau - 1)
    return tb.InfluenceBalancing(tau * -(-length // tau))


def slope(est, task, samples):
    """The mean estimate over (s¹ − 1), at the first θ and the state that it leads to."""
    model = task.model()
    params = model.init(jax.random.key(0))
    carry = est.init(model, params, 1, jax.random.key(1))

    def settle(_, carry):
        return est(model, params, carry, task.batch(jax.random.key(0)), jax.random.key(2))[1]

    @jax.jit
    def mean():
        settled = jax.lax.fori_loop(0, 20, settle, carry)

        def one(key):
            estimate, _ = est(model, params, settled, task.batch(key), key)
            return estimate.grads["theta"]

        return jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(3), samples), batch_size=64))

    return float(mean()) / (-6 * 0.5 - 1)


def measure(config, key):
    est = estimator_of(config)
    task = task_for(est, config)
    history = tb.train(
        task.model(),
        est,
        task,
        optax.sgd,
        steps=config["updates"],
        key=key,
        evaluations=50,
        seeds=config["seeds"],
        learning_rates=RATES,
        watch=lambda params: params["theta"],
        checkpoint=tb.lab.checkpoint("training"),
    )
    more = {"slope": slope(est, task, config["samples"])} if "tau" in config else {}
    rows = learning_rows(history, RATES, **more)
    for row, theta in zip(rows, history.watched.reshape(len(rows), -1)):
        distance = np.minimum(np.abs(theta - BEST), FAR)
        row |= {"distance": float(distance[-1]), "curve_distance": distance}
    return rows


def arrived(table):
    """For each estimator and lengths, at its best learning rate: whether all seeds ended near the best θ; the slope."""
    best = at_best_rate(table, GROUP, "distance")
    return best.group_by(GROUP).agg(
        (pl.col("distance") < NEAR).all().alias("arrived"), pl.col("slope").first(), pl.col("distance").max()
    )


def by_length(table, name):
    rows = arrived(table).filter(pl.col("estimator") == name).sort("tau")
    return dict(zip(rows["tau"], rows["slope"])), dict(zip(rows["tau"], rows["arrived"]))


def switches_at(table):
    """Where the slope turns negative, for windows and segments: the best θ lies below the first."""
    found = {}
    for name in ("window", "segment"):
        slopes, _ = by_length(table, name)
        wrong = max((tau for tau, slope in slopes.items() if slope > 0), default=0)
        found[name] = wrong, min(tau for tau in slopes if tau > wrong)
    figure = "; ".join(
        f"{name}s have the wrong sign up to τ = {a}, the right one from {b}" for name, (a, b) in found.items()
    )
    exact = found == {"window": (40, 41), "segment": (109, 110)}
    return Verdict("reproduced" if exact else "not reproduced", figure)


def short_truncation_diverges(table):
    figure, good = [], True
    for name, first in (("window", 41), ("segment", 110)):
        _, learned = by_length(table, name)
        good &= all(ok == (tau >= first) for tau, ok in learned.items())
        no, yes = ([tau for tau, ok in learned.items() if ok is want] for want in (False, True))
        figure.append(f"{name}s: τ = {words(no)} end elsewhere, {words(yes)} arrive")
    return Verdict("reproduced" if good else "not reproduced", "; ".join(figure))


def words(taus):
    return ", ".join(map(str, taus)) or "none"


def segments_of_the_literature(table):
    _, learned = by_length(table, "segment")
    good = not learned[10] and not learned[100] and learned[200]
    return Verdict(
        "reproduced" if good else "not reproduced", f"arrived: { ({t: learned[t] for t in (10, 100, 200)}) }"
    )


def ended(table, short):
    """For every estimator without a τ, with short chunks or long ones: where it ended, and what it promises."""
    rows = arrived(table).filter(pl.col("tau").is_null()).sort("estimator")
    rows = rows.filter((pl.col("length") == SHORT) == short)
    if rows.is_empty():
        raise ValueError(f"no estimator without a τ was measured with {'short' if short else 'long'} chunks")
    promise = [tb.make_estimator(text).unbiased for text in rows["estimator"]]
    return rows.with_columns(pl.Series("unbiased", promise))


def where(rows):
    return "; ".join(
        f"{name} {'arrives' if ok else f'at a distance of {far:.2g}'}"
        for name, ok, far in rows.select("estimator", "arrived", "distance").iter_rows()
    )


def unbiased_converges(table):
    rows = ended(table, short=False).filter(pl.col("unbiased") != "never")
    return Verdict("reproduced" if rows["arrived"].all() else "not reproduced", where(rows))


def only_streams_converge(table):
    rows = ended(table, short=True)
    crosses = pl.col("estimator").str.extract(r"^(\w+)").is_in(CARRYING)
    good = rows.filter(pl.col("arrived") == crosses).height == rows.height
    return Verdict("reproduced" if good else "not reproduced", where(rows.sort("arrived", descending=True)))


TALLEC = "Tallec & Ollivier 2018, Unbiased online recurrent optimization"
AXES = {"estimator": ["window", "segment", *OTHERS], "length": [400, SHORT]}
experiment = Experiment(
    name="influence_balancing",
    source=TALLEC,
    summary="a parameter that helps at once and harms in the long run: who sees far enough to learn it",
    axes={
        "smoke": AXES | {"tau": [10, 40, 41, 100, 109, 110, 200], "updates": 2000, "samples": 64, "seeds": 2},
        "default": AXES | {"tau": TAUS, "updates": 5000, "samples": 1024, "seeds": 4},
        "paper": AXES
        | {"tau": list(range(1, 301)), "length": [1000, SHORT]}
        | {"updates": 30_000, "samples": 4096, "seeds": 20},
    },
    measure=measure,
    plot=draw,
    makes_sense=makes_sense,
    claims=(
        Claim("Windows point the right way from τ = 41 on, segments from τ = 110.", "exact lag sums", switches_at),
        Claim(
            "Shorter truncation does not converge at any learning rate; longer does.", TALLEC, short_truncation_diverges
        ),
        Claim("Segments of 10 and 100 fail, segments of 200 converge.", TALLEC, segments_of_the_literature),
        Claim("Unbiased estimators converge.", "Tallec & Ollivier 2017", unbiased_converges),
        Claim(
            "With chunks of 10 steps, those that carry an influence or perturbed states on converge, and no others.",
            "Vicol, Metz & Sohl-Dickstein 2021, Persistent evolution strategies",
            only_streams_converge,
        ),
    ),
)
