"""Estimators as values: text and back, pytrees, validation, registry; and that numbers never recompile anything."""

import dataclasses
import sys
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tbptt_jax.files import import_file
from tests.problems import announce, distance, problem
from tests.tiers import thorough

EXAMPLES = [
    tb.Full(),
    tb.Segment(8),
    tb.Segment(8, "random"),
    tb.Segment(8, in_order=True),
    tb.Window(3),
    tb.Buffered(8, 4),
    tb.Rolling(7, 4),
    tb.Randomized(0.9),
    tb.Randomized(0.9, shared=True),
    tb.Geometric(0.5),
    tb.Randomized(0.9, critic=tb.critics.Linear()),
    tb.ARTBP(16.0, critic=tb.critics.MLP(width=4, rate=0.1)),
    tb.Segment(3, "random", critic=tb.critics.Features(count=5)),
    tb.DNI(2),
    tb.DNI(2, critic=tb.critics.Linear(memory=0.9)),
    tb.BPLambda(0.5),
    tb.ARTBP(16, 4.0),
    tb.ARTBP(16.0, 2.5, shared=True),
    tb.ByAge((0.0, 0.0, 0.25)),
    tb.RTRL(),
    tb.SnAp(1),
    tb.RFLO(0.5),
    tb.UORO(),
    tb.UORO(rank=3),
    tb.NoBackTrack(),
    tb.KFRTRL(),
    tb.RKFRTRL(),
    tb.OK(),
    tb.OK(2),
    tb.Sketched(1),
    tb.EProp(),
    tb.OutputOnly(),
    tb.KeRNL(),
    tb.Adaptive(0.1, longest=6),
    tb.AdaptiveRolling(0.1, longest=4, every=2),
    tb.Telescope(0.7),
    tb.Telescope(0.7, first=2, single=True),
    tb.Optimal(0.8),
    tb.Scheduled((1.0, 0.5, 0.9, 0.9, 0.7, 0.8)),
    tb.ES(),
    tb.TruncatedES(),
    tb.PES(),
    tb.NRES(),
    tb.NRES(chunks=3),
    tb.GPES(reuse=2),
    tb.NRES(chunks=3, unlocked=True),
    tb.ForwardGradient(4),
    tb.Dodge(4),
]


def test_every_registered_estimator_has_an_example_here():
    assert {type(est) for est in EXAMPLES} == set(tb.all_estimators().values())


@pytest.mark.parametrize("est", EXAMPLES, ids=str)
def test_text_and_back(est):
    assert tb.make_estimator(str(est)) == est
    assert type(tb.make_estimator(str(est))) is type(est)


def test_text_shows_what_differs_from_the_defaults():
    assert str(tb.Segment(8)) == "segment(tau=8)"
    assert str(tb.ARTBP(length=16, alpha=3.0)) == "artbp(length=16, alpha=3.0)"
    assert str(tb.Window(np.int64(3))) == "window(tau=3)"
    assert tb.make_estimator("full") == tb.make_estimator(" full( ) ") == tb.Full()
    assert tb.make_estimator("segment(8, 'random')") == tb.Segment(8, "random")


ODD = (0, -1, 2.5, "x", None, True, (1, 2), [], {}, "()", (0.1, "a"), float("nan"), 10**30)


@pytest.mark.parametrize("kinds", [tb.all_estimators(), tb.all_tasks()], ids=["estimators", "tasks"])
def test_no_odd_value_of_a_field_is_more_than_an_error_in_one_line(kinds):
    refused = 0
    for kind in kinds.values():
        fields = dataclasses.fields(kind)
        for field, value in product(fields, ODD):
            needed = {one.name: 2 for one in fields if one.default is dataclasses.MISSING}
            try:
                kind(**needed | {field.name: value})
            except tb.UserError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "text, words",
    [
        ("segmnt(tau=4)", "unknown name 'segmnt'. Did you mean segment"),
        ("segment(tau=0)", "segment: tau must be a whole number of at least 1, got 0"),
        ("segment(tau=True)", "got True"),
        ("segment(tau=4, offset='late')", 'offset must be a whole number or "random"'),
        ("segment(tau=4, offset=-1)", "offset must be a whole number of at least 0"),
        (
            "segment()",
            r"does not fit segment\(tau, offset=0, in_order=False, states=None, critic=None, parallel=False, reach=0\)",
        ),
        (
            "segment(tua=4)",
            r"does not fit segment\(tau, offset=0, in_order=False, states=None, critic=None, parallel=False, reach=0\)",
        ),
        ("window(tau=0)", "window: tau must be"),
        ("buffered(k1=2, k2=4)", "k1 must be at least k2 = 4, got 2"),
        ("randomized(keep=1.5)", "keep must be a number above 0 and at most 1, got 1.5"),
        ("randomized(keep=0)", "keep must be a number above 0"),
        ("geometric(keep=-0.1)", "keep must be a number from 0 to 1"),
        ("artbp(length=0.5)", "length must be a number above 1, got 0.5"),
        ("artbp(length=1)", "length must be a number above 1, got 1"),
        ("artbp(length=4, alpha=1)", "alpha must be a number above 1, got 1"),
        ("by_age(cuts=())", r"by_age: cuts must be numbers from 0 to below 1, one at least, got \(\)"),
        ("by_age(cuts=(0.5, 1))", r"numbers from 0 to below 1, one at least, got \(0.5, 1\)"),
        ("adaptive(delta=0)", "adaptive: delta must be a number above 0, got 0"),
        ("adaptive(0.1, longest=4, shortest=5)", "adaptive: shortest must be at most longest = 4, got 5"),
        ("adaptive(0.1, fit='mean')", "adaptive: fit must be one of least squares, quantile, max, got 'mean'"),
        ("telescope(keep=0)", "telescope: keep must be"),
        ("telescope(chances=(0.1, 0.2))", "telescope: chances must be probabilities above 0 that do not rise"),
        ("optimal(keep=0.01)", "optimal: keep must be a number above 0.02 and at most 1, got 0.01"),
        ("optimal(longest=1)", "optimal: longest must be a whole number of at least 2, got 1"),
        ("snap(n=0)", "snap: n must be a whole number of at least 1, got 0"),
        ("rflo(leak=2)", "rflo: leak must be a number from 0 to 1, got 2"),
        ("es(sigma=0)", "es: sigma must be a number above 0, got 0"),
        ("pes(particles=0)", "pes: particles must be a whole number of at least 1, got 0"),
        ("nres(chunks=0)", "nres: chunks must be a whole number of at least 1, got 0"),
        ("segment(tau=__import__('os'))", "a form like"),
        ("open('x').read()", "a form like"),
        ("segment(", "a form like"),
        ("segment(**{})", "does not fit|a form like"),
        ("", "a form like"),
        ("nowhere.py:Mine()", "there is no file nowhere.py"),
    ],
)
def test_bad_text_is_refused_by_name(text, words):
    with pytest.raises(ValueError, match=words):
        tb.make_estimator(text)


@pytest.mark.parametrize("est", [tb.Randomized(0.5), tb.Geometric(0.5), tb.ARTBP(3), tb.Segment(3, "random")], ids=str)
def test_a_missing_key_is_asked_for(est):
    with pytest.raises(ValueError, match=r"^\w+\([a-z0-9_=., ']+\) draws at random: pass key="):
        tb.gradient(est, *problem("tanh"))


def test_numbers_are_leaves_and_the_rest_is_structure():
    assert jax.tree.leaves(tb.ARTBP(16, 4.0, shared=True)) == [16, 4.0]
    assert jax.tree.leaves(tb.Segment(8, "random")) == [8]
    assert jax.tree.leaves(tb.Buffered(8, 4)) == []
    assert jax.tree.structure(tb.Window(3)) == jax.tree.structure(tb.Window(9))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, tb.Window(3))
    assert doubled == tb.Window(6)
    assert len({tb.Window(3), tb.Window(3), tb.Window(4)}) == 2


def test_nothing_recompiles_when_numbers_keys_or_data_change():
    model, params, batch = problem("tanh")
    traces = []

    @jax.jit
    def gradient(est, params, batch, key):
        traces.append(str(type(est)))
        return tb.gradient(est, model, params, batch, key)

    kinds = [
        [tb.Segment(2), tb.Segment(3), tb.Segment(100)],
        [tb.Segment(2, "random"), tb.Segment(5, "random")],
        [tb.Window(1), tb.Window(4)],
        [tb.Randomized(0.5), tb.Randomized(0.9)],
        [tb.Geometric(0.5), tb.Geometric(0.9)],
        [tb.ARTBP(4.0, 3.0), tb.ARTBP(2.0, 4.0)],
    ]
    for ests in kinds:
        for i, est in enumerate(ests):
            inputs = batch.inputs + i
            together = gradient(est, params, batch._replace(inputs=inputs), jax.random.key(i))
            _, key = jax.random.split(jax.random.key(i))
            start = model.initial_state(params, 2)
            alone = jax.jit(partial(est, model))(params, start, batch._replace(inputs=inputs), key)[0]
            assert distance(together, alone.grads) < 1e-12, est  # the constants of one, the arguments of the other
    assert len(traces) == len(kinds)


@thorough
def test_a_stacked_estimator_is_a_sweep():
    model, params, batch = problem("tanh")
    for kind, values in (
        (tb.Window, jnp.arange(1, 5)),
        (tb.Segment, jnp.arange(1, 5)),
        (tb.Randomized, jnp.asarray([0.3, 1.0])),
    ):
        key = jax.random.key(0)
        stacked = jax.vmap(lambda est, key=key: tb.gradient(est, model, params, batch, key))(kind(values))
        for i, value in enumerate(values.tolist()):
            alone = tb.gradient(kind(value), model, params, batch, key)
            assert distance(jax.tree.map(lambda leaf, i=i: leaf[i], stacked), alone) < 1e-12


def test_estimating_gates_without_a_stream_is_refused():
    with pytest.raises(tb.UserError, match=r"truncation: an estimator that cuts, .* is needed, got optimal\(\)"):
        tb.scan(lambda c, x: (c + x, c), jnp.zeros(()), jnp.ones(3), truncation=tb.Optimal(), key=jax.random.key(0))


def test_a_gates_function_of_the_wrong_shape_is_named():
    @dataclasses.dataclass(frozen=True)
    class Flat(tb.GatedEstimator):
        unbiased = "never"

        def gates(self, key, length, batch_size):
            return jnp.ones(length)

    with pytest.raises(ValueError, match=r"flat.gates: shape \[T, B\] = \[6, 2\] is needed, got \(6,\)"):
        tb.gradient(Flat(), *problem("tanh"))


def test_other_packages_can_announce_estimators(tmp_path, monkeypatch):
    (tmp_path / "their_package.py").write_text(MINE)
    announce(tmp_path, monkeypatch, "[tbptt_jax.estimators]\nmine = their_package:Mine\n")
    tb.all_estimators.cache_clear()
    try:
        assert tb.make_estimator("mine(keep=0.25)").keep == 0.25
        announce(tmp_path, monkeypatch, "[tbptt_jax.estimators]\nmine = their_package:jnp\n")
        tb.all_estimators.cache_clear()
        with pytest.raises(TypeError, match="a subclass of Estimator is needed"):
            tb.all_estimators()
    finally:
        tb.all_estimators.cache_clear()
        sys.modules.pop("their_package", None)


MINE = '''
from dataclasses import dataclass
import jax, jax.numpy as jnp
import tbptt_jax as tb
from tbptt_jax.analysis.cost import count
from tbptt_jax.files import import_file

@dataclass(frozen=True)
class Mine(tb.GatedEstimator):
    """Keep half of all steps, or as many as you say."""
    keep: float = 0.5
    unbiased = "chunk"

    def gates(self, key, length, batch_size):
        return jax.random.bernoulli(key, self.keep, (length, batch_size)) / self.keep
'''


@thorough
def test_a_whole_number_is_a_constant_and_an_array_is_not():
    """`Segment(2)` runs its segments side by side, two steps deep; a tau that is an array takes all six in a row."""
    model, params, batch = problem("tanh")

    def depth(est):
        return count(lambda params: tb.gradient(est, model, params, batch), params)[1]

    assert depth(tb.Segment(2)) < depth(tb.Segment(jnp.asarray(2)))
    ours, theirs = (tb.gradient(tb.Segment(tau), model, params, batch) for tau in (2, jnp.asarray(2)))
    assert distance(ours, theirs) < 1e-12


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tb.Randomized(0.9, shared="no"), "randomized: shared must be True or False, got 'no'"),
        (lambda: tb.Randomized(0.9, critic=3), "randomized: critic must be None, or a critic, got 3"),
        (lambda: tb.make_estimator("randomized(keep=0.9, critic=3)"), "randomized: critic must be None, or a critic"),
        (lambda: tb.Randomized([0.5, 0.6]), r"randomized: keep must be a number, got \[0.5, 0.6\]"),
        (lambda: tb.ARTBP((4, 5)), r"artbp: length must be a number, got \(4, 5\)"),
        (lambda: tb.Scheduled(0.9), "scheduled: keeps must be numbers above 0 and at most 1, got 0.9"),
        (lambda: tb.critics.Linear(beyond=3), "linear: beyond must be True or False, got 3"),
        (lambda: tb.Text(path=3), "text: path must be a text, got 3"),
        (lambda: tb.Mimic(radius=[1, 2]), "mimic: radius must be a number"),
    ],
)
def test_a_field_holds_what_is_of_its_kind(make, words):
    with pytest.raises(tb.UserError, match=words):
        make()


def test_a_class_of_a_users_own_says_what_its_fields_are(tmp_path):
    """Annotations that are texts count too; defaults and what is only for `__init__` pass."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import InitVar, dataclass\n"
        "import jax.numpy as jnp\nimport tbptt_jax as tb\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(tb.GatedEstimator):\n"
        "    flag: bool = False\n    depth: int = None\n    scale: InitVar[float] = 1.0\n    unbiased = 'chunk'\n\n"
        "    def __post_init__(self, scale):\n        assert scale == 2.0\n\n"
        "    def gates(self, key, length, batch_size):\n        return jnp.ones((length, batch_size))\n"
    )
    mine = vars(import_file("test", file))["Mine"]
    assert mine(scale=2.0).depth is None and mine(scale=2.0, depth=3).depth == 3
    with pytest.raises(tb.UserError, match="mine: flag must be True or False, got 'no'"):
        mine(scale=2.0, flag="no")
    assert tb.Randomized(0.9, shared=jnp.array(True)).shared
