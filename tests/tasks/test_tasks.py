"""Every task: its contract, the language that its streams really speak, and its floors by enumeration."""

import itertools
import re
from dataclasses import dataclass, replace
from functools import partial
from math import log
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tbptt_jax as tb
from tbptt_jax.contracts.of_tasks import check
from tbptt_jax.models import Batch
from tbptt_jax.tasks.influence_balancing import Balance
from tests.problems import announce, distance
from tests.tiers import cases, thorough

FALSE_ALARM = 1e-6
TEXT = "It was the Time Traveller, 1898! " * 60


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text(TEXT)
    return str(path)


def examples(text):
    return [
        tb.InfluenceBalancing(12),
        tb.InfluenceBalancing(12, skipped=4),
        tb.TimeMachine(text, 8, 4),
        tb.Text(text, 8, 4),
        tb.Text(text, 8, 4, order="random", clean=False),
        tb.Copy(16, 4),
        tb.Copy(16, 4, longest=6, shortest=2),
        tb.AnBn(16, 4),
        tb.Brackets(16, 4, repeated=2),
        tb.Adding(9, 4),
        tb.Recall(5, batch_size=4),
        tb.DelayedSum(2, 5, length=7, batch_size=4),
        tb.Mimic(units=5, length=7, batch_size=4),
        tb.Agreement(5, 4),
    ]


def test_every_registered_task_has_an_example(text):
    assert {type(task) for task in examples(text)} == set(tb.all_tasks().values())


@pytest.mark.parametrize("name", cases(tb.all_tasks(), ["text"]))
def test_every_task_keeps_the_contract(name, text):
    task = {task.name: task for task in examples(text)}[name]
    findings = list(check(task))
    assert not [finding for finding in findings if not finding.held]
    assert len(findings) >= 9


def test_the_contract_catches_a_task_that_breaks_it():
    @dataclass(frozen=True)
    class Broken(tb.Recall):
        def start(self, key):
            return jnp.array(0)

        def chunk(self, source, steps=None):
            return self.batch(jax.random.key(0)), jnp.array(False), source + 0.5

        def floors(self):
            return {"best": float("nan")}

    broken = {finding.sentence for finding in check(Broken()) if not finding.held}
    assert "its first chunk starts afresh" in broken
    assert "every episode starts afresh" in broken
    assert "its floors are finite numbers" in broken


def test_the_contract_catches_a_stream_that_starts_again_though_it_says_that_it_does_not():
    @dataclass(frozen=True)
    class Again(tb.Copy):
        endless = True

        def chunk(self, source, steps=None):
            batch, fresh, _ = super().chunk(source, steps)
            return batch, fresh, source

    broken = {finding.sentence for finding in check(Again()) if not finding.held}
    assert "no stream starts again, as it says" in broken


def test_text_form_and_back(text):
    for task in examples(text):
        assert tb.make_task(str(task)) == task
    assert str(tb.Copy()) == "copy()" and tb.make_task("copy") == tb.Copy()
    assert tb.make_task("recall(3)") == tb.Recall(distance=3)


@pytest.mark.parametrize(
    "words, said",
    [
        ("copi", "task: unknown name 'copi'. Did you mean copy"),
        ("copy(longest=1)", "copy: longest must be a whole number of at least 2, got 1"),
        ("copy(longest=5, shortest=6)", "copy: shortest must be at most longest = 5, got 6"),
        ("copy(length=0)", "copy: length must be a whole number of at least 1, got 0"),
        ("brackets(letters=0)", "brackets: letters must be"),
        ("recall(distance=0)", "recall: distance must be a whole number"),
        ("influence_balancing(length=4, skipped=4)", "skipped must be below length = 4, got 4"),
        ("text(path='x.txt', order='up')", 'order must be "sequential" or "random", got \'up\''),
        ("text(path='x.txt', validation=1.0)", "validation must be a number between 0 and 1, got 1.0"),
        ("text()", r"does not fit text\(path, length=32"),
    ],
)
def test_bad_text_is_refused_by_name(words, said):
    with pytest.raises(ValueError, match=said):
        tb.make_task(words)


def test_a_task_in_a_file_and_one_that_a_package_announces(tmp_path, monkeypatch):
    code = (
        "import tbptt_jax as tb\nfrom dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine(tb.Recall):\n"
    )
    (tmp_path / "mine.py").write_text(code + "    name = 'mine'\n    distance: int = 3\n")
    task = tb.make_task(f"{tmp_path}/mine.py:Mine(symbols=2)")
    assert (task.distance, task.symbols) == (3, 2)
    announce(tmp_path, monkeypatch, "[tbptt_jax.tasks]\nmine = mine:Mine\n")
    tb.all_tasks.cache_clear()
    try:
        assert tb.make_task("mine").distance == 3
    finally:
        tb.all_tasks.cache_clear()


def read(task, chunks, seed=0):
    """Symbols and targets `[B, steps]` of consecutive chunks."""
    source, inputs, targets = task.start(jax.random.key(seed)), [], []
    chunk = jax.jit(task.chunk)
    for _ in range(chunks):
        batch, _, source = chunk(source)
        inputs.append(np.asarray(batch.inputs.argmax(-1)))
        targets.append(np.asarray(batch.targets))
    return np.concatenate(inputs).T, np.concatenate(targets).T


def test_a_n_b_n_speaks_its_language():
    """All lines of a long stream, and the frequencies of n: 12 z-tests, false alarm 1e-6 in all."""
    symbols, targets = read(tb.AnBn(length=120, batch_size=64, most=6), 10)
    assert np.array_equal(symbols[:, 1:], targets[:, :-1])
    counts = np.zeros(7)
    for row in symbols:
        lines = re.findall(r"(a+)\n(b+)\n", "".join("\nab"[s] for s in row).partition("\n")[2].partition("\n")[2])
        for a, b in lines[1:]:
            assert len(a) == len(b)
            counts[len(a)] += 1
    total = counts.sum()
    assert total > 4000 and counts[0] == 0
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / 12)
    assert np.all(np.abs(counts[1:] - total / 6) <= limit * (total * 5 / 36) ** 0.5 + 40)  # + what the ends cut off


def test_brackets_speak_their_language():
    symbols, targets = read(tb.Brackets(length=120, batch_size=32, repeated=2, between=3, letters=4), 4)
    assert np.array_equal(symbols[:, 1:], targets[:, :-1])
    found = 0
    for row in symbols:
        whole = "".join("\n[]abcd"[s] for s in row)
        for line in whole.split("\n")[1:-1]:
            first, second = re.fullmatch(r"\[([a-d]{2})\][a-d]{3}\[([a-d]{2})\]", line).groups()
            assert first == second
            found += 1
    assert found > 900


@pytest.mark.parametrize("shortest", cases([None, 3], [3]))
def test_copy_repeats_what_was_shown(shortest):
    symbols, targets = read(tb.Copy(length=100, batch_size=16, longest=5, shortest=shortest), 4)
    sizes = set()
    for row, wanted in zip(symbols, targets):
        starts = np.flatnonzero(row == 1)
        for start, end in itertools.pairwise(starts):
            size = (end - start) // 2
            line = row[start:end]
            assert np.all(line[:size] > 0) and np.all(line[size:] == 0) and np.all(line[1:size] > 1)
            assert np.all(wanted[start : start + size] == 0) and np.array_equal(wanted[start + size : end], line[:size])
            sizes.add(size)
    assert sizes == ({5} if shortest is None else {3, 4, 5})


def test_streams_begin_anywhere_in_a_line_and_differ():
    symbols, _ = read(tb.Copy(length=40, batch_size=64, longest=5), 1)
    assert len(set(np.argmax(symbols == 1, axis=1))) > 5
    assert len({tuple(row) for row in symbols}) > 60


def entropy(counts):
    p = np.asarray(counts, float) / sum(counts)
    return -np.sum(p * np.log(np.where(p > 0, p, 1)))


def rate(lines, context):
    """Entropy a symbol of the next symbol, given a context (line, position) → anything; all lines equally likely."""
    seen: dict = {}
    for line in lines:
        for i in range(len(line)):
            following = line[i + 1] if i + 1 < len(line) else lines[0][0]
            seen.setdefault(context(line, i), []).append(following)
    total = sum(len(line) for line in lines)
    return sum(len(f) * entropy([f.count(s) for s in set(f)]) for f in seen.values()) / total


def test_floors_by_enumeration_of_all_lines():
    lines = ["a" * n + "\n" + "b" * n + "\n" for n in range(1, 6)]
    floors = tb.AnBn(most=5).floors()
    assert floors["best"] == pytest.approx(rate(lines, lambda line, i: line[: i + 1]))
    forgetful = partial(
        rate, lines, lambda line, i: (line[: i + 1].count("\n"), i - line.find("\n") if "\n" in line[: i + 1] else i)
    )
    assert floors["blind"] == pytest.approx(forgetful())

    letters = "abc"
    lines = [f"[{s}]{''.join(r)}[{s}]\n" for s in letters for r in itertools.product(letters, repeat=2)]
    floors = tb.Brackets(between=2, letters=3).floors()
    assert floors["best"] == pytest.approx(rate(lines, lambda line, i: line[: i + 1]))
    assert floors["blind"] == pytest.approx(rate(lines, lambda line, i: i))

    assert tb.AnBn().floors()["best"] / log(2) == pytest.approx(5 / 35)  # the figures of the literature, in bits
    assert tb.Brackets().floors()["best"] / log(2) == pytest.approx(1.661, abs=5e-4)
    assert tb.Brackets().floors()["blind"] / log(2) == pytest.approx(1.938, abs=5e-4)
    assert tb.Copy().floors() == {"best": 0.0, "blind": pytest.approx(9 * log(4) / 20)}


def test_delayed_sum_labels_hang_on_two_tosses_alone():
    """The frequency of 1 for each pair of tosses: 4 z-tests, false alarm 1e-6 in all; and the floors by enumeration."""
    task = tb.DelayedSum(near=2, far=5, length=50, batch_size=64)
    tosses, labels = read(task, 8)
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / 8)
    for near, far in itertools.product((0, 1), repeat=2):
        chance = 0.5 + 0.5 * near - 0.25 * far
        found = labels[:, 5:][(tosses[:, 3:-2] == near) & (tosses[:, :-5] == far)]
        assert len(found) > 5000
        assert abs(found.mean() - chance) <= limit * (chance * (1 - chance) / len(found)) ** 0.5
    assert abs(tosses.mean() - 0.5) <= limit * (0.25 / tosses.size) ** 0.5
    joint = [(near, far, 0.25) for near in (0, 1) for far in (0, 1)]
    chances = {
        (near, far): [1 - (0.5 + 0.5 * near - 0.25 * far), 0.5 + 0.5 * near - 0.25 * far] for near, far, _ in joint
    }
    floors = task.floors()
    assert floors["best"] == pytest.approx(sum(p * entropy(chances[near, far]) for near, far, p in joint))
    assert floors["blind"] == pytest.approx(entropy(np.mean(list(chances.values()), axis=0)))
    held_out = jax.jit(task.held_out)(jax.random.key(0))
    assert np.all(held_out.weights[:5] == 0) and np.all(held_out.weights[5:] == 1)
    with pytest.raises(ValueError, match="delayed_sum: far must be a whole number of at least 4, got 3"):
        tb.DelayedSum(near=3, far=3)


@thorough
def test_mimic_is_what_its_teacher_says():
    """In chunks that are read in parts, as in one run of the teacher over all of the stream."""
    task = tb.Mimic(units=6, length=5, batch_size=3)
    source, inputs, targets = task.start(jax.random.key(4)), [], []
    for steps in (5, 2, 4, 5):
        batch, _, source = task.chunk(source, jnp.array(steps))
        inputs.append(batch.inputs[:steps])
        targets.append(batch.targets[:steps])
    inputs, targets = map(jnp.concatenate, (inputs, targets))
    weights, state = task.weights(), task.teacher.initial_state(task.weights(), 3)
    for x, wanted in zip(inputs, targets):
        state = task.teacher.step(weights, state, x)
        np.testing.assert_allclose(task.teacher.readout(weights, state), wanted, atol=1e-12)
    assert set(np.unique(inputs)) == {-1.0, 1.0} and len(np.unique(np.asarray(inputs), axis=0)) > 8
    assert tb.loss(task.teacher, weights, jax.jit(task.held_out)(jax.random.key(0))) < 1e-24
    matrix = weights["cell"]["W_hh"]
    np.testing.assert_allclose(matrix @ matrix.T, 0.95**2 * np.eye(6), atol=1e-6)
    assert task.weights()["cell"]["W_hh"].tolist() != tb.Mimic(units=6, seed=1).weights()["cell"]["W_hh"].tolist()


def test_tasks_with_a_loss_at_the_end():
    batch = jax.jit(tb.Adding(length=11, batch_size=500).batch)(jax.random.key(0))
    values, marks = np.asarray(batch.inputs[..., 0]), np.asarray(batch.inputs[..., 1])
    assert np.all(marks[:5].sum(0) == 1) and np.all(marks[5:].sum(0) == 1)
    assert np.allclose(batch.targets[-1, :, 0], (values * marks).sum(0))
    assert np.array_equal(np.asarray(batch.weights).sum(1), [0] * 10 + [500])
    losses = (
        0.5 * (1 - np.asarray(jax.jit(tb.Adding(batch_size=20_000).batch)(jax.random.key(1)).targets[-1, :, 0])) ** 2
    )
    z = (losses.mean() - tb.Adding().floors()["blind"]) / (losses.std() / len(losses) ** 0.5)
    assert abs(z) < 5  # false alarm below 1e-6

    batch = jax.jit(tb.Recall(distance=4, symbols=3, batch_size=60).batch)(jax.random.key(0))
    shown = np.asarray(batch.inputs.argmax(-1))
    assert batch.inputs.shape == (5, 60, 4) and np.all(shown[1:] == 3)
    assert np.array_equal(shown[0], batch.targets[-1]) and set(shown[0]) == {0, 1, 2}

    batch = jax.jit(tb.Agreement(distance=6, batch_size=400).batch)(jax.random.key(0))
    words = np.asarray(batch.inputs.argmax(-1))
    assert np.all(words[0] < 8) and set(words[1:].ravel()) == set(range(12))
    assert np.array_equal(batch.targets[-1], words[0] >= 4)


def test_influence_balancing_has_its_fixed_point_and_its_switch_points():
    """s¹* = −6θ; the response over K lags is +10 at 10, largest, 16.48, at 19, negative from 41; segments from 110."""
    model, theta = Balance(), jnp.array(0.5)
    settled = jax.lax.fori_loop(0, 3000, lambda _, s: model.step({"theta": theta}, s, None), jnp.ones((1, 23)))
    assert float(settled[0, 0]) == pytest.approx(-6 * 0.5, abs=1e-9)

    def slope(est, task):
        estimate, _ = est(model, {"theta": theta}, settled, jax.jit(task.batch)(jax.random.key(0)), None)
        return estimate.grads["theta"] / (settled[0, 0] - 1)

    taus = jnp.array([10, 18, 19, 20, 40, 41])
    full_windows = tb.InfluenceBalancing(100, skipped=41)
    slopes = jax.jit(jax.vmap(lambda tau: slope(tb.Window(tau), full_windows)))(taus)
    windows = dict(zip(taus.tolist(), slopes.tolist()))
    assert windows[10] == pytest.approx(10) and max(windows, key=windows.__getitem__) == 19
    assert windows[19] == pytest.approx(16.48, abs=5e-3)
    assert windows[40] > 0 > windows[41]
    for tau, sign in ((109, 1), (110, -1)):
        assert jax.jit(lambda tau=tau: slope(tb.Segment(tau), tb.InfluenceBalancing(tau)))() * sign > 0
    best = tb.loss(
        model, {"theta": jnp.array(-1 / 6)}, tb.InfluenceBalancing(3000, skipped=2500).batch(jax.random.key(0))
    )
    assert float(best) < 1e-12


def test_the_trigram_model_sees_two_symbols_and_needs_no_backpropagation():
    task = replace(tb.Brackets(length=12, batch_size=3))
    model = tb.trigram(task.inputs, embedding=3, hidden=4)
    params, batch = jax.jit(lambda key: (model.init(key), task.batch(key)))(jax.random.key(0))
    exact = jax.jit(jax.grad(tb.loss, argnums=1), static_argnums=0)(model, params, batch)
    cut = tb.gradient(tb.Window(1), model, params, batch)
    assert distance(exact, cut) < 1e-14

    @jax.jit
    def outputs(symbols):
        inputs = jax.nn.one_hot(symbols[:, None], task.inputs)
        states = jax.lax.scan(lambda s, x: (model.step(params, s, x),) * 2, model.initial_state(params, 1), inputs)[1]
        return model.readout(params, states[-1])

    first = np.asarray(outputs(jnp.array([1, 2, 3, 4])))
    assert np.array_equal(first, outputs(jnp.array([9, 8, 3, 4])))
    assert not np.allclose(first, outputs(jnp.array([1, 2, 5, 4])))


def test_a_batch_is_what_the_model_takes():
    with pytest.raises(ValueError, match="it has a model of its own"):
        tb.InfluenceBalancing().model("gru")
    assert isinstance(tb.Copy().batch(jax.random.key(0)), Batch)
