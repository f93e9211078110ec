"""The small computations that experiments' verdicts stand on, by hand."""

from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.analysis.reach import reach
from tbptt_jax.experiments import load
from tbptt_jax.experiments.break_even.measure import trained
from tbptt_jax.experiments.break_even_memory.measure import at_memory, learned_gates, of_stretch
from tbptt_jax.experiments.influence_balancing.measure import slope, task_for
from tbptt_jax.experiments.lorenz_fit.measure import MODEL
from tbptt_jax.experiments.meta_2d.measure import Descent, episode, height
from tbptt_jax.experiments.online.measure import carried, cosine, mean_cosines
from tbptt_jax.experiments.regularization.measure import counted_in_windows, where_it_falls_to
from tbptt_jax.experiments.time_machine.measure import ORDERS, counted_losses
from tbptt_jax.experiments.truncation_patterns.figures import boxes
from tbptt_jax.experiments.vanishing_gradients.measure import relative_to_first
from tbptt_jax.lab.grid import Choices, cells
from tbptt_jax.lab.plan import plan
from tests.tiers import thorough


def test_of_break_even_one_thing_is_changed_at_a_time():
    experiment = load("break_even_conditions")
    asked = [cell for cell in cells(experiment, Choices()) if cell.seed == 100]
    ordinary = {"cell": "tanh", "radius": None, "training": 1000}
    usual = {"copy(length=60)": 60, "time_machine(length=64)": 64}
    changes = Counter()
    for cell in asked:
        other = {name for name, value in ordinary.items() if cell[name] != value}
        other |= set() if cell["task"] in usual else {"length"}
        assert len(other) <= 1 or (other == {"radius", "training"} and cell["training"] == 0)
        changes[frozenset(other)] += 1
    kinds = {(): 2, ("cell",): 4, ("length",): 4, ("training",): 4, ("radius", "training"): 4}
    assert changes == {frozenset(kind): often for kind, often in kinds.items()}


def test_the_radius_of_break_even_is_that_of_the_drawn_network():
    task = tb.make_task("copy(length=6, longest=2)")
    weights = trained(task, "tanh", 5, 0, 0, 0.6)["cell"]["W_hh"]
    assert np.abs(np.linalg.eigvals(weights)).max() == pytest.approx(0.6)


@thorough
def test_of_break_even_all_keep_as_many_states():
    def held(est):
        return at_memory(est, 8, 24, lambda est: tb.Scheduled(jnp.full(24, 0.5)))

    for est in (tb.Randomized(0.9), tb.ARTBP(8.0)):
        (found,) = held(est).values()
        assert type(found) is type(est) and tb.exact.longest_stretch(found, 24) == pytest.approx(8, abs=1e-3)
    fixed = held(tb.Segment(8)) | {"window": held(tb.Window(8))[""], "buffered": held(tb.Buffered(8, 4))[""]}
    assert fixed[""].offset == "random" and fixed[" from the first step"].offset == 0
    assert all(tb.exact.longest_stretch(est, 24) <= 8 for est in fixed.values())
    task = tb.make_task("copy(length=24, longest=4)")
    model = task.model("tanh", 3)
    params, key = model.init(jax.random.key(0)), jax.random.key(1)
    best = learned_gates(model, params, task, 8, 20, key, tb.exact.longest_stretch, tb.Optimal())
    assert tb.exact.longest_stretch(best, 24) == pytest.approx(8, abs=0.05)
    assert np.ptp(best.keeps[1:]) > 0.05  # and are not equal
    with pytest.raises(tb.UserError, match="estimator: one whose exact variance is known is needed, got uoro"):
        held(tb.UORO())
    with pytest.raises(tb.UserError, match="tau: 30 states cannot be kept of 24 steps by any randomized"):
        of_stretch(tb.Randomized.of_length, 30, 24)
    long = of_stretch(
        tb.Randomized.of_length, 16, 21, tb.exact.averaged_stretch
    )  # longer on average than there are steps
    assert long.nominal_length > 21 and tb.exact.averaged_stretch(long, 21) == pytest.approx(16, abs=1e-3)
    experiment = load("break_even_memory")
    asked = {(cell["task"].partition("(")[0], cell["tau"]) for cell in cells(experiment, Choices())}
    assert ("recall", 16) in asked and ("recall", 32) not in asked  # which has 21 steps
    (cell, *_) = cells(experiment, Choices("smoke", estimators=["randomized", "segment(tau=3)"]))
    with pytest.raises(tb.UserError, match=r"name it alone, without arguments, got segment\(tau=3\)"):
        experiment.measure(cell, jax.random.key(0))


@thorough
def test_the_optimizer_of_an_axis_is_the_one_that_learns():
    experiment = load("online_optimizers")
    sizes = Choices("smoke", ["symbols=200", "hidden=2"], ["window(tau=1)"], seeds=1)
    losses = [experiment.measure(cell, jax.random.key(0))[0]["report"] for cell in cells(experiment, sizes)]
    assert len(losses) == 3 and len(set(losses)) == 3


def test_values_where_another_series_falls_to_a_level():
    falling, values = np.array([2.0, 1.8, 1.4, 1.5, 1.2]), np.array([5.0, 6.0, 10.0, 0.0, 0.0])
    assert where_it_falls_to(1.5, falling, values) == pytest.approx(9.0)  # three quarters of the way from 6 to 10
    assert where_it_falls_to(2.5, falling, values) == 5.0
    assert where_it_falls_to(1.0, falling, values) is None


def test_the_lorenz_system_takes_a_step_of_euler():
    params = {"log_a": jnp.log(10.0), "log_r": jnp.log(28.0)}
    x, y, z = 1.2, 1.3, 1.6
    expected = [x + 0.005 * 10 * (y - x), y + 0.005 * (x * (28 - z) - y), z + 0.005 * (x * y - 8 / 3 * z)]
    np.testing.assert_allclose(MODEL.step(params, MODEL.initial_state(params, 1), None)[0], expected, rtol=1e-12)


def test_a_descent_in_numpy():
    """The slope by differences, the rates between exp(−1) and exp(−2), the mean height over all steps."""
    steps, place, heights = 5, np.array([1.0, 1.0]), []

    def surface(place):
        x, y = place
        return np.sqrt(x**2 + 5) - np.sqrt(5) + np.sin(y) ** 2 * np.exp(-5 * x**2) + 0.25 * abs(y - 100)

    assert np.isclose(height(jnp.asarray(place)), surface(place))
    for number in range(steps):
        small = 1e-6 * np.eye(2)
        slope = np.array([(surface(place + d) - surface(place - d)) / 2e-6 for d in small])
        part = number / steps
        place = place - (np.exp(-1) * (1 - part) + np.exp(-2) * part) * slope
        heights.append(surface(place))
    batch = jax.tree.map(lambda leaf: leaf[0], episode(steps, steps))
    found = tb.loss(Descent(steps), {"theta": jnp.array([-1.0, -2.0])}, batch)
    assert found == pytest.approx(np.mean(heights), rel=1e-6)


def test_whatever_has_a_pace_of_its_own_is_trained_with_updates_at_its_cuts():
    def asked(estimator, updates):
        words = [f"updates={updates}", "order=sequential", "tau=4"]
        return len(cells(load("time_machine"), Choices("smoke", words, [estimator])))

    for estimator in ("segment", "artbp", "rolling", "by_age(cuts=(0.0,0.5))", "adaptive_rolling(delta=0.5,longest=8)"):
        assert asked(estimator, "at cuts") == 1, estimator
        assert asked(estimator, "every chunk") == (estimator == "segment"), estimator  # which is laid at random then
    assert asked("randomized", "every chunk") == 1
    assert asked("full()", "at cuts") == asked("randomized", "at cuts") == 0
    with pytest.raises(tb.UserError, match="updates: unknown name 'at cut'"):
        asked("segment", "at cut")


def test_every_loss_that_balances_influence_sees_a_whole_window():
    """The slope is the response to θ over as many steps, Σ_k (Aᵏ c)₁, which losses that saw fewer would not have."""
    matrix, signs = 0.5 * (np.eye(23) + np.eye(23, k=1)), np.where(np.arange(23) < 10, 1.0, -1.0)
    for tau in (12, 19):
        response = sum((np.linalg.matrix_power(matrix, k) @ signs)[0] for k in range(tau))
        task = task_for(tb.Window(tau), {"length": 400})  # type: ignore[arg-type]
        assert task.length - task.skipped == 40
        assert slope(tb.Window(tau), task, 1) == pytest.approx(response, rel=1e-5)


def test_the_lengths_of_the_text_that_are_measured():
    lengths = Counter((cell.chosen[0].method, cell["updates"]) for cell in cells(load("time_machine"), Choices()))
    chunk = {"full": 2, "segment": 6, "randomized": 3, "optimal": 1, "dni": 1}
    at_cuts = {"segment": 6, "artbp": 2, "rolling": 2, "dni": 1}
    asked = {(name, "every chunk"): count for name, count in chunk.items()}
    assert lengths == asked | {(name, "at cuts"): count for name, count in at_cuts.items()}


def test_regularisers_come_one_at_a_time_and_with_all_credit():
    found = cells(load("regularization"), Choices())
    drawn = [cell for cell in found if cell["zoneout"] != 0]
    assert {cell["estimator"] for cell in drawn} == {"full()"}
    assert {cell["dropout"] for cell in found if cell["zoneout"] is not None} == {None}
    assert all(cell["dropout"] > 0 for cell in drawn if cell["zoneout"] is None)


@thorough
def test_dropout_is_what_a_network_is_trained_with(tmp_path):
    (tmp_path / "text.txt").write_text(300 * "the quick brown fox jumps over the lazy dog and runs away. ")
    words = ["updates=12", "hidden=4", "tau=2", "validation=0.5", "zoneout=0.0,None", "dropout=None,1e-12,0.5"]
    asked = Choices("smoke", words, ["full()"], tasks=[f"text(path='{tmp_path}/text.txt')"], seeds=1)
    experiment = load("regularization")
    rows = {cell["dropout"]: experiment.measure(cell, jax.random.key(0))[0] for cell in cells(experiment, asked)}
    assert rows[1e-12]["trained_on"] == pytest.approx(rows[None]["trained_on"], rel=1e-5)
    assert rows[1e-12]["horizon"] == rows[None]["horizon"]
    assert abs(rows[0.5]["trained_on"] - rows[None]["trained_on"]) > 1e-4


@thorough
def test_segments_of_one_step_are_drawn_at_one():
    figure = load("time_machine").plot(pl.read_parquet("results/time_machine/table.parquet"))["by_length"]()
    drawn = {line.get_label(): line.get_xdata() for axes in figure.axes for line in axes.lines}
    starts = [collection.get_segments()[0][0][0] for axes in figure.axes for collection in axes.collections]
    plt.close(figure)
    assert not any("tau=1" in str(label) for label in drawn) and min(starts) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    "text, whole", [("full()", True), ("forward_gradient()", True), ("segment(tau=2)", False), ("pes()", False)]
)
def test_what_is_right_within_its_chunk_is_given_whole_descents(text, whole):
    words = {"settings": ["steps=4", "unroll=2", "updates=40"], "estimators": [text], "seeds": 1}
    (cell,) = cells(load("meta_2d"), Choices("smoke", **words))
    (row,) = load("meta_2d").measure(cell, jax.random.key(0))
    assert row["curve_steps"][-1] == 40 * (4 if whole else 2) * cell.estimator.runs


def test_the_words_are_boxed_where_credit_falls_into_pieces():
    def weights(est):
        return np.asarray(reach(est, 7, jax.random.key(0)))

    assert boxes(weights(tb.Segment(3))) == [(0, 3), (3, 6), (6, 7)] and boxes(weights(tb.Full())) == [(0, 7)]
    assert boxes(weights(tb.Window(3))) == boxes(weights(tb.Buffered(4, 2))) == []


def test_what_is_no_estimator_of_an_experiment_is_asked_in_all_of_its_networks():
    def asked(name, estimator):
        return {cell["cell"] for cell in cells(load(name), Choices("default", estimators=[estimator]))}

    assert asked("online", "kernl()") == {"tanh"} and asked("online", "snap(n=2)") == {"tanh", "elstm", "lstm"}
    assert asked("online_text", "snap()") == {"tanh", "lstm"}
    assert asked("online_text", "snap(n=2)") == {"tanh", "lstm", "gru"}
    assert asked("formal_languages", "snap()") == {"lstm"} and asked("formal_languages", "dodge()") == {"gru", "lstm"}


def test_where_no_cell_makes_sense_it_is_said_why():
    choices = Choices(settings=["tau=16"], estimators=["artbp"])
    with pytest.raises(
        tb.UserError, match=r"time_machine: no cell makes sense at .* few of their lengths are measured"
    ):
        plan(load("time_machine"), choices)


@pytest.mark.parametrize(
    "name, words, message",
    [
        ("pes_variance", {"settings": ["stream=periodic"]}, "stream: unknown name 'periodic'"),
        ("online_optimizers", {"settings": ["optimizer=lion"]}, "optimizer: unknown name 'lion'"),
        ("best_gates", {"settings": ["losses=some", "training=0"]}, "losses: unknown name 'some'"),
        ("online", {"tasks": ["recall()"]}, r"task: one that is a stream is needed, got recall"),
        ("online", {"estimators": ["window(tau=8)"]}, r"window\(tau=8\) looks back within a chunk alone"),
        ("time_machine", {"tasks": ["copy()"]}, r"task: a text is needed, got copy\(\)"),
        ("critics", {"estimators": ["es()"]}, "estimator: one without a critic, and the same with some"),
    ],
)
def test_what_cannot_be_measured_is_said_by_name(name, words, message):
    experiment = load(name)
    (cell, *_) = cells(experiment, Choices("smoke", **words))
    with pytest.raises(tb.UserError, match=message):
        experiment.measure(cell, jax.random.key(0))


def test_n_grams_are_counted_and_chosen_on_the_sets_of_the_networks(tmp_path):
    line = "the quick brown fox jumps over the lazy dog and runs away from it "
    noise = "".join(np.random.default_rng(0).choice(list(line), 6 * len(line)))  # another order is best there
    text = 48 * line + noise + 6 * line
    (tmp_path / "text.txt").write_text(text)
    task = tb.Text(str(tmp_path / "text.txt"), validation=0.2)
    found = counted_losses(task)
    train, _ = task.parts()
    held_out = jax.jit(task.held_out)(jax.random.key(0))
    rows = np.concatenate([held_out.inputs[:1].argmax(-1), held_out.targets]).T  # as the networks read them
    models = {order: tb.NGrams(train, task.inputs, order) for order in ORDERS}
    selection = {order: model.loss(rows[:16]) for order, model in models.items()}
    best = min(selection, key=selection.get)
    assert found["best_order"] == best and found["best_ngram"] == pytest.approx(models[best].loss(rows[16:]))
    assert found["ngram_3"] == pytest.approx(models[3].loss(rows[16:]))
    short = replace(task, length=3)
    windows = np.array([row[at : at + 4] for at in range(0, rows.shape[1] - 3, 3) for row in rows])
    reported = windows[len(windows) // 2 :]
    assert counted_in_windows(short)["ngram_3"] == pytest.approx(models[3].loss(reported))


def test_a_loss_without_credit_counts_as_the_mean_of_the_others():
    """In a linear network with an orthogonal matrix all losses have the same credit at each lag."""
    powers = np.tril(np.broadcast_to(0.5 ** np.arange(5), (5, 5)))
    norms = powers * np.array([2.0, 0.0, 3.0, 0.0, 1.0])[:, None]
    np.testing.assert_allclose(relative_to_first(jnp.asarray(norms)), powers)
    alone = np.tril(np.ones((2, 2))) * np.array([0.0, 4.0])[:, None]
    np.testing.assert_allclose(relative_to_first(jnp.asarray(alone)), np.tril(np.ones((2, 2))))


@thorough
def test_gradients_of_one_symbol_are_compared_with_the_exact_one_alone():
    """RTRL is aligned with itself to 1; a window of one step only where nothing comes from before."""
    task = tb.DelayedSum(near=1, far=2, length=1, batch_size=1)
    model = task.model("tanh", 3)
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 2))
    assert mean_cosines(tb.RTRL(), model, params, task, jax.random.key(1)) == pytest.approx([1, 1], abs=1e-9)
    cut = mean_cosines(tb.Window(1), model, params, task, jax.random.key(1))
    assert np.all(cut < 0.999)
    still = jax.tree.map(jnp.copy, params)
    still["cell"]["W_hh"] = jnp.zeros_like(still["cell"]["W_hh"])
    assert mean_cosines(tb.Window(1), model, still, task, jax.random.key(1)) == pytest.approx([1, 1], abs=1e-9)
    assert cosine({"a": jnp.zeros(2)}, {"a": jnp.ones(2)}) == 0
    sizes = [carried(est, model, task) for est in (tb.Window(1), tb.RTRL())]
    assert sizes[0] == 3 and sizes[1] > 3 * 3 * 3
