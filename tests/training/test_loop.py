"""The loop: side by side as one by one, evaluation, checkpoints that survive a kill, and clear refusals."""

import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tbptt_jax as tb
from tbptt_jax.tasks.text import read_corpus
from tbptt_jax.training import checkpoint as checkpoints
from tbptt_jax.training import loop
from tbptt_jax.training.update import begin, update
from tests.problems import distance
from tests.tiers import cases, thorough

TASK = tb.Copy(length=6, batch_size=2, longest=3)
MODEL = TASK.model("tanh", 3)
SGD, RANDOM = optax.sgd(0.3), tb.Randomized(0.7)  # the same objects, so that their programs are compiled once


def train(optimizer=SGD, est=RANDOM, steps=6, evaluations=3, **more):
    return tb.train(MODEL, est, TASK, optimizer, steps=steps, key=jax.random.key(0), evaluations=evaluations, **more)


def test_seeds_and_learning_rates_side_by_side_are_each_what_they_are_alone():
    def watch(params):
        return params["readout"]["b_q"]

    rates = [0.1, 0.4]
    together = train(optax.sgd, seeds=2, learning_rates=rates, watch=watch)
    assert together.held_out.shape == together.seen.shape == (2, 2, 3) and together.watched.shape == (2, 2, 3, 6)
    assert np.array_equal(together.step, [2, 4, 6]) and np.array_equal(together.seen[0, 0], [24, 48, 72])
    in_turn = train(optax.sgd, seeds=2, learning_rates=rates, watch=watch, at_once=1)
    assert distance(together.params, in_turn.params) < 1e-12 and distance(together.loss, in_turn.loss) < 1e-12
    assert np.all(together.diverged_at == -1)


@thorough
def test_a_rate_at_which_runs_diverge_leaves_the_others_alone():
    rates = [0.1, 0.4, float("inf")]
    together, in_turn = (train(optax.sgd, seeds=2, learning_rates=rates, at_once=at_once) for at_once in (None, 1))
    assert distance(together.params, in_turn.params) < 1e-12 and distance(together.loss, in_turn.loss) < 1e-12
    assert np.all(together.diverged_at[:2] == -1) and np.all(together.diverged_at[2] == 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((together.params, together.loss, together.held_out)))
    alone = train(optax.sgd(0.4))
    assert alone.held_out.shape == (3,) and alone.diverged_at.shape == ()


def test_runs_that_diverge_within_a_leg_are_frozen_there_and_the_others_go_on():
    """Legs of several updates against legs of one."""
    task = tb.InfluenceBalancing(length=10)
    rates = {"learning_rates": [1e-5, 1e60, 1e-4], "key": jax.random.key(0), "steps": 8}
    whole, by_one = (
        tb.train(task.model(), tb.Full(), task, optax.sgd, evaluations=evaluations, **rates) for evaluations in (2, 8)
    )
    assert np.array_equal(whole.diverged_at, by_one.diverged_at) and 0 < whole.diverged_at[1] < 7
    assert np.all(whole.diverged_at[[0, 2]] == -1)
    assert distance(whole.params, by_one.params) < 1e-12 * abs(by_one.params["theta"]).max()
    assert np.allclose(whole.loss[[0, 2]], by_one.loss[[0, 2]].reshape(2, 2, 4).mean(-1), rtol=1e-12)


@thorough
def test_a_loss_that_is_infinite_for_one_update_alone_is_seen():
    """Its gradient is finite, and so are the parameters and the losses that would follow."""
    start = begin(MODEL, tb.Full(), TASK, SGD, jax.random.split(jax.random.key(0), 1)[0])
    source, targets = start.source, []
    for _ in range(6):
        batch, _, source = TASK.chunk(source)
        targets.append(set(np.asarray(batch.targets).ravel().tolist()))
    rare, at = next((symbol, at) for at, now in enumerate(targets) if at for symbol in now - set().union(*targets[:at]))

    def loss(output, target):
        return optax.softmax_cross_entropy_with_integer_labels(output, target) + jnp.where(target == rare, jnp.inf, 0.0)

    model = tb.rnn("tanh", TASK.inputs, 3, TASK.outputs, loss)
    history = tb.train(model, tb.Full(), TASK, SGD, steps=6, evaluations=1, key=jax.random.key(0))
    before = tb.train(model, tb.Full(), TASK, SGD, steps=at, evaluations=1, key=jax.random.key(0))
    assert history.diverged_at == at and before.diverged_at == -1
    assert distance(history.params, before.params) < 1e-12


def test_held_out_loss_and_training_loss_are_what_they_say():
    history = train(est=tb.Full(), steps=3, evaluations=3)
    held_out = jax.jit(TASK.held_out)(jax.random.key(0))
    assert history.held_out[-1] == pytest.approx(float(tb.loss(MODEL, history.params, held_out)), abs=1e-12)
    shorter = train(est=tb.Full(), steps=3, evaluations=1)
    assert shorter.loss[0] == pytest.approx(history.loss.mean(), abs=1e-12)
    assert distance(shorter.params, history.params) < 1e-12


@thorough
def test_schedules_and_chains_of_optax_are_taken():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 6)
    history = train(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)))
    assert np.isfinite(history.held_out).all()


def test_the_parameters_change_after_so_many_estimates_by_their_mean():
    """Against a loop by hand, of the same estimates on the same episodes."""
    task, key = tb.Recall(distance=3, batch_size=2), jax.random.key(0)
    model = task.model("tanh", 3)
    options = {"steps": 4, "key": key, "evaluations": 4, "watch": lambda params: params}
    found = tb.train(model, tb.Full(), task, SGD, update_every=2, **options)
    run = begin(model, tb.Full(), task, SGD, jax.random.split(key, 1)[0])
    params, source, total = run.params, run.source, jax.tree.map(jnp.zeros_like, run.params)
    for step in range(4):
        batch, _, source = task.chunk(source)
        total = jax.tree.map(jnp.add, total, tb.gradient(tb.Full(), model, params, batch))
        if step % 2:
            params = jax.tree.map(lambda p, g: p - 0.3 * g / 2, params, total)
            total = jax.tree.map(jnp.zeros_like, total)
        assert distance(jax.tree.map(lambda leaf, step=step: leaf[step], found.watched), params) < 1e-12
    with pytest.raises(tb.UserError, match="update_every: a whole number of at least 1"):
        train(update_every=0)


class Stop(Exception):
    pass


def test_a_training_that_is_stopped_anywhere_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    """Stopped before and after every write of its checkpoint: the same to the last bit."""
    options = {"optimizer": optax.adam(0.01), "seeds": 2, "est": tb.ARTBP(3), "watch": lambda params: params}
    whole = train(**options)
    save = checkpoints.save
    for stop_after in range(3):
        for written in (False, True):
            path, count = tmp_path / f"{stop_after}{written}" / "run", iter(range(10))

            def stopping(*arguments, written=written, count=count, stop_after=stop_after):
                last = next(count) == stop_after
                if written or not last:
                    save(*arguments)
                if last:
                    raise Stop

            monkeypatch.setattr(checkpoints, "save", stopping)
            with pytest.raises(Stop):
                train(**options, checkpoint=path)
            monkeypatch.setattr(checkpoints, "save", save)
            again = train(**options, checkpoint=path)
            for old, new in zip(jax.tree.leaves(whole._replace(seconds=0)), jax.tree.leaves(again._replace(seconds=0))):
                assert np.asarray(old).tobytes() == np.asarray(new).tobytes()
            assert np.all(np.diff(again.seconds) > 0)


PROGRAM = """
import sys, jax, optax, numpy as np, tbptt_jax as tb
task, optimizer = tb.Copy(length=6, batch_size=2, longest=3), optax.adam(0.01)
def train(path):
    history = tb.train(task.model("tanh", 8), tb.Randomized(0.7), task, optimizer, steps=20_000, evaluations=100,
                       key=jax.random.key(0), checkpoint=path)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(history.params)] + [history.held_out]).tobytes()
stopped = train(sys.argv[1])
print("the same" if stopped == train(None) else "not the same")
"""


@pytest.mark.soak
def test_a_killed_process_goes_on_where_it_was(tmp_path):
    path = tmp_path / "checkpoint"
    words = [sys.executable, "-c", PROGRAM, str(path)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    killed = subprocess.Popen(words, env=environment)
    try:
        until = time.monotonic() + 60
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL and path.exists()  # not at its end
    finally:
        killed.kill()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "the same\n", done.stdout + done.stderr


def test_a_checkpoint_of_another_run_is_refused_and_a_damaged_one_set_aside(tmp_path):
    path = tmp_path / "run"
    whole = train(checkpoint=path)
    with pytest.raises(
        ValueError, match=r"belongs to another run.\n it has .*randomized\(keep=0.7\).*\n this .*full\(\)"
    ):
        train(est=tb.Full(), checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(optax.sgd(0.2), checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    assert distance(train(checkpoint=path).params, whole.params) == 0
    assert (tmp_path / "run.damaged").read_bytes() == content[:-7]


@thorough
def test_a_checkpoint_of_another_text_is_refused(tmp_path):
    """The text is a constant of the program, and nothing else shows it."""
    text = tmp_path / "text.txt"

    def read(content):
        text.write_text(content * 40)
        read_corpus.cache_clear()
        loop.compiled.cache_clear()
        task = tb.Text(str(text), length=4, batch_size=2)
        model = task.model("tanh", 2)
        options = {"steps": 2, "key": jax.random.key(0), "evaluations": 2, "checkpoint": tmp_path / "run"}
        return tb.train(model, tb.Full(), task, SGD, **options)

    read("to be or not to be ")
    with pytest.raises(ValueError, match="belongs to another run"):
        read("to be or not to bet")


@pytest.mark.soak
def test_a_checkpoint_of_another_number_of_devices_is_gone_on_from(tmp_path):
    """Two runs on one device, stopped; on two devices the training ends as it would have."""
    program = (
        "import sys, jax, optax, numpy as np, tbptt_jax as tb\n"
        "task = tb.Copy(length=6, batch_size=2, longest=3)\n"
        "history = tb.train(task.model('tanh', 3), tb.Full(), task, optax.sgd(0.3), steps=4, evaluations=2, seeds=2,\n"
        "                   key=jax.random.key(0), checkpoint=sys.argv[1])\n"
        "print(jax.local_device_count(), np.round(history.held_out[:, -1], 12).tolist())\n"
    )
    said = []
    for devices in ("1", "2"):
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": devices}
        words = [sys.executable, "-c", program, str(tmp_path / "run")]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split(maxsplit=1))
    assert [one[0] for one in said] == ["1", "2"] and said[0][1] == said[1][1]


@pytest.mark.parametrize("est", cases([tb.Adaptive(0.1, longest=4), tb.Optimal(0.8)], [tb.Optimal(0.8)]), ids=str)
def test_what_an_estimator_learned_of_the_model_outlives_the_episodes(est):
    task = tb.Recall(distance=3, batch_size=2)
    model, optimizer = task.model("tanh", 3), optax.sgd(0.1)
    run = begin(model, est, task, optimizer, jax.random.key(0))
    one_more = jax.jit(lambda run: update(model, est, task, optimizer, run))
    learned = [one_more(run)]
    for _ in range(2):
        learned.append(one_more(learned[-1]))
    if isinstance(est, tb.Adaptive):
        assert [int(run.carry.chunks) for run in learned] == [1, 2, 3]
    else:  # what a chunk adds is a hundredth: after three, it is not that of the last one alone
        away = [float(jnp.max(jnp.abs(run.carry.weights - 1))) for run in learned]
        assert 0 < away[0] < away[1] < away[2]


@thorough
def test_an_estimator_with_probabilities_of_its_own_trains():
    keeps = jnp.linspace(0.5, 1.0, 6)
    history = train(est=tb.Scheduled(keeps), steps=2, evaluations=1)
    assert np.isfinite(history.held_out).all()


def test_long_training_says_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(loop, "REPORT_EVERY", 0.0)
    train()
    assert (
        "randomized(keep=0.7) on copy(length=6, batch_size=2, longest=3): 4 of 6 updates, median loss"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "options, said",
    [
        ({"steps": 0}, "steps: a whole number of at least 1 is needed, got 0"),
        ({"evaluations": 0}, "evaluations: a whole number"),
        ({"seeds": 0}, "seeds: a whole number"),
        ({"optimizer": optax.sgd}, "optimizer, learning_rates: an optax optimizer is needed"),
        ({"learning_rates": [0.1]}, "optimizer, learning_rates: an optax optimizer is needed"),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        train(**options)


def test_a_loss_too_large_for_its_floating_point_is_the_largest_number():
    assert float(loop.bounded(jnp.array(jnp.inf))) == np.finfo(float).max
    assert np.isnan(loop.bounded(jnp.array(jnp.nan)))  # which is never hidden
