"""Every experiment at its smallest size, with an estimator of a user's own: measured, drawn and judged."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import tbptt_jax as tb
from tbptt_jax import experiments
from tbptt_jax.lab.grid import Choices
from tbptt_jax.lab.protocol import SEQUENCES, losses_apart
from tbptt_jax.running.command import Running, run_command
from tests.tiers import cases

MINE = '''
from dataclasses import dataclass
import jax
import jax.numpy as jnp
import tbptt_jax as tb
from tbptt_jax.estimators.laws import Independent

@dataclass(frozen=True)
class Mine(tb.GatedEstimator):
    """Cut every other step at random, and reweight."""

    keep: float = 0.9
    unbiased = "chunk"

    @classmethod
    def of_length(cls, tau):
        return cls(1 - 1 / tau)

    def gates(self, key, length, batch_size):
        return jax.random.bernoulli(key, self.keep, (length, batch_size)) / self.keep

    def law(self, length):
        return Independent(jnp.ones(length), jnp.full(length, 1 / self.keep - 1))


@dataclass(frozen=True)
class Perturbed(tb.PES):
    """With one noise for each chunk."""
'''
TEXT = "the quick brown fox jumps over the lazy dog and runs away from it into the wood where nobody sees him " * 60

TINY = {  # every kind of row that a figure draws, and no more: each cell is compiled anew
    "alignment": Choices(
        "smoke",
        ["updates=8", "samples=2", "hidden=2", "tau=2", "task=copy(length=6,batch_size=2,longest=2)"],
        ["uoro()"],
    ),
    "averaging": Choices(
        "smoke", ["updates=4", "hidden=2", "tau=2", "batch=1,2", "task=agreement(distance=3)"], ["full()"], seeds=2
    ),
    "best_gates": Choices("smoke", ["losses=every step", "tau=2", "length=8", "chunks=4"], ["optimal", "randomized"]),
    "best_lengths": Choices(
        "smoke",
        [
            *("hidden=2", "tau=3", "training=0", "sequences=4", "seed=0", "task=copy(length=6, longest=2)"),
            *("memory=averaged", "chunks=2"),
        ],
        ["by_age", "randomized"],
    ),
    "bias_variance": Choices("smoke", ["tau=2", "length=8", "hidden=2", "samples=64"], ["segment", "uoro()"], seeds=2),
    "break_even": Choices(
        "smoke",
        ["hidden=2", "tau=2", "training=0", "population=32", "task=copy(length=6, longest=2)"],
        ["randomized", "window"],
    ),
    "break_even_conditions": Choices(
        "smoke",
        ["hidden=2", "training=0", "population=32", "seed=0", "task=copy(length=60, longest=10)"],
        ["segment"],
    ),
    "break_even_memory": Choices(
        "smoke",
        ["hidden=2", "tau=3", "training=0", "population=32", "chunks=2", "seed=0", "task=copy(length=6, longest=2)"],
        ["optimal", "segment"],
    ),
    "copy": Choices("smoke", ["symbols=96", "hidden=2", "batch_size=2", "tau=5"], ["rolling"], tasks=["copy"], seeds=2),
    "critics": Choices(
        "smoke",
        ["hidden=2", "training=0", "population=32", "chunks=2", "task=copy(length=6, longest=2)"],
        ["randomized(keep=0.5)", "randomized(keep=0.5,critic=linear())"],
    ),
    "critics_in_training": Choices(
        "smoke",
        ["updates=4", "hidden=2", "batch=2", "task=agreement(distance=3)"],
        ["full()", "randomized(keep=0.5,critic=linear())"],
    ),
    "formal_languages": Choices("smoke", ["symbols=600", "hidden=2"], ["uoro()"], seeds=2),
    "ten_million_symbols": Choices("smoke", ["symbols=600", "hidden=2"], ["segment(tau=1)"], seeds=2),
    "influence_balancing": Choices(
        "smoke", ["updates=50", "samples=8", "tau=10", "length=400"], ["window", "rtrl()"], seeds=2
    ),
    "long_dependencies": Choices("smoke", ["updates=12", "hidden=2", "tau=2"], ["full()"]),
    "lorenz": Choices("smoke", ["tau=10", "steps=50"], seeds=2),
    "lorenz_fit": Choices(
        "smoke", ["steps=20", "unroll=10", "workers=2", "starts=3", "part=0.001"], ["nres(particles=1)"], seeds=2
    ),
    "meta_2d": Choices("smoke", ["steps=4", "unroll=2", "updates=40"], ["pes(particles=2)"], seeds=2),
    "online": Choices("smoke", ["symbols=600", "hidden=2"], ["uoro()"], seeds=2),
    "online_optimizers": Choices("smoke", ["symbols=600", "hidden=2", "optimizer=sgd"], ["rtrl()"], seeds=2),
    "online_text": Choices("smoke", ["symbols=600", "hidden=2"], ["window(tau=1)"], seeds=2),
    "past_ngrams": Choices("smoke", ["symbols=1536", "hidden=2", "tau=4", "batch=2"], ["segment"], seeds=2),
    "pes_variance": Choices(
        "smoke", ["unroll=1,4", "steps=4", "samples=64", "stream=random"], ["pes(particles=1)"], seeds=2
    ),
    "regularization": Choices(
        "smoke",
        ["updates=12", "hidden=4", "tau=2", "validation=0.5", "zoneout=0.0,None", "dropout=None,0.5"],
        ["full()"],
    ),
    "time_machine": Choices(
        "smoke",
        ["symbols=1536", "hidden=2", "tau=4", "batch=2", "order=sequential", "updates=every chunk"],
        ["full()"],
        seeds=2,
    ),
    "trained_out": Choices("smoke", ["symbols=1536", "hidden=2", "batch=2"], ["full"], seeds=2),
    "truncation_patterns": Choices("smoke", ["samples=256"]),
    "vanishing_gradients": Choices("smoke", ["hidden=4", "cell=linear,tanh", "radius=0.8"]),
}
WITHOUT_ESTIMATORS = {"critics", "lorenz", "vanishing_gradients"}
PERTURBED = {"pes_variance"}  # of estimators that perturb alone
TWO_KINDS = {"bias_variance", "influence_balancing"}  # of figures: of lengths, and of all others
READS_TEXT = {"online_text", "past_ngrams", "regularization", "time_machine", "trained_out"}


LATER = {  # what trains or samples as another does, or takes parts that have tests of their own
    *("alignment", "averaging", "best_gates", "best_lengths", "break_even_conditions", "break_even_memory", "copy"),
    *("critics", "critics_in_training", "truncation_patterns"),
    *("formal_languages", "long_dependencies", "lorenz", "lorenz_fit", "meta_2d", "online_optimizers", "online_text"),
    *("past_ngrams", "pes_variance", "regularization", "ten_million_symbols", "trained_out"),
    *("bias_variance", "influence_balancing", "online", "vanishing_gradients"),
}


def test_every_experiment_is_here():
    assert sorted(TINY) == experiments.names()


@pytest.mark.parametrize("name", cases(TINY, lambda name: name not in LATER))
def test_it_is_measured_drawn_and_judged(name, tmp_path, capsys):
    choices = TINY[name]
    mine = f"{tmp_path}/my.py:Mine"
    (tmp_path / "my.py").write_text(MINE)
    (tmp_path / "text.txt").write_text(TEXT)
    if name in READS_TEXT:
        choices = Choices(**vars(choices) | {"tasks": [f"text(path='{tmp_path}/text.txt')"]})
    if name not in WITHOUT_ESTIMATORS:
        mine = f"{tmp_path}/my.py:Perturbed" if name in PERTURBED else mine
        both = [mine, f"{mine}(keep=0.8)"]  # of the axis τ, and of a length of its own
        choices = Choices(**vars(choices) | {"added_estimators": both if name in TWO_KINDS else [mine]})
    code = run_command(name, tmp_path, vars(choices), Running(debug=True))
    said = capsys.readouterr().out
    assert code == 0, said
    folder = choices.place(tmp_path / name)
    verdicts = json.loads((folder / "claims.json").read_text())
    assert len(verdicts) == len(experiments.load(name).claims) + len(experiments.load(name).checks)
    figures = sorted(folder.glob("*.svg"))
    assert figures and "not measured" not in "".join(line for line in said.splitlines() if line.startswith("figure "))
    if name not in WITHOUT_ESTIMATORS:
        for figure in figures:
            assert Path(mine).name in figure.read_text(), f"{figure.name} does not show the user's estimator"


def test_a_critic_is_measured_against_segments_of_a_length_that_is_known(tmp_path):
    (tmp_path / "my.py").write_text(MINE)
    both = [f"{tmp_path}/my.py:Mine(keep=0.5{critic})" for critic in ("", ", critic=linear()")]
    choices = Choices("smoke", ["hidden=2", "training=0", "seed=0"], both, tasks=["copy(length=6, longest=2)"])
    with pytest.raises(tb.UserError, match="estimator: one with a nominal length is needed"):
        run_command("critics", tmp_path, vars(choices), Running(debug=True))


def test_a_sweep_of_a_truncation_and_an_estimator_of_ones_own_is_drawn(tmp_path, capsys):
    """The command that the README gives: of truncations alone, no variance is above 0."""
    (tmp_path / "my.py").write_text(MINE)
    sizes = ["tau=2,4", "length=8", "hidden=2", "samples=64"]
    choices = Choices("smoke", sizes, ["window", f"{tmp_path}/my.py:Mine(keep=0.9)"], seeds=2)
    assert run_command("bias_variance", tmp_path, vars(choices), Running(debug=True)) == 0
    figures = {path.stem: path.read_text() for path in tmp_path.glob("bias_variance/chosen/*.svg")}
    assert sorted(figures) == ["against_tau_tanh", "equal_memory", "others"]
    assert "0 for all" in figures["against_tau_tanh"] and "my.py:Mine(keep=0.9)" in figures["others"]
    said = capsys.readouterr().out
    assert "none of them was measured" not in said and "largest exact bias²" in said


def test_what_is_chosen_by_and_what_is_reported_are_other_sequences():
    """Two halves of what is held out: their mean is the loss of all of it, and neither is the other."""
    task = tb.make_task("agreement(distance=3)")
    model = task.model("tanh", 4)
    params = model.init(jax.random.key(0))
    found = losses_apart(model, task)(params)
    whole = replace(task, batch_size=SEQUENCES // 16).held_out(jax.random.key(2**31 - 1))
    assert abs(found["selection"] - found["report"]) > 1e-9
    assert abs((found["selection"] + found["report"]) / 2 - tb.loss(model, params, whole)) < 1e-9
