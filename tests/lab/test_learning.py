"""Rows of what was learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.lab.config import read_config
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices, cells, parse_setting
from tbptt_jax.lab.judging import at_best_rate
from tbptt_jax.lab.learning import in_a_stream, learning_rows
from tbptt_jax.lab.measuring import checkpoint, crowded, measured


def test_rows_are_the_history_by_rate_and_seed():
    task = tb.Recall(distance=2, batch_size=2)
    history = tb.train(
        task.model("tanh", 2),
        tb.Full(),
        task,
        optax.sgd,
        steps=4,
        key=jax.random.key(0),
        evaluations=2,
        seeds=2,
        learning_rates=[0.1, 1.0],
    )
    rows = learning_rows(history, [0.1, 1.0], floor=0.5, norm=np.arange(4.0).reshape(2, 2))
    assert [(row["learning_rate"], row["replica"], row["norm"]) for row in rows] == [
        (0.1, 0, 0),
        (0.1, 1, 1),
        (1.0, 0, 2),
        (1.0, 1, 3),
    ]
    assert rows[3]["held_out"] == history.held_out[1, 1, -1] and np.array_equal(
        rows[3]["curve_loss"], history.loss[1, 1]
    )
    assert rows[0]["seen"] == 4 * 3 * 2 and rows[0]["updates"] == 4 and rows[0]["floor"] == 0.5
    assert type(rows[0]["norm"]) is float and type(rows[0]["diverged_at"]) is int


def test_the_best_rate_is_that_of_the_smallest_mean_where_nothing_diverged():
    table = pl.DataFrame(
        {
            "estimator": ["a"] * 4 + ["b"] * 2,
            "tau": [None] * 4 + [2, 2],
            "learning_rate": [0.1, 0.1, 1.0, 1.0, 0.1, 1.0],
            "held_out": [1.0, 9.0, 4.0, 5.0, 1.0, 2.0],
            "diverged_at": [-1] * 4 + [7, -1],
        }
    )
    best = at_best_rate(table, ["estimator", "tau"]).drop("diverged_at")
    assert sorted(best.rows()) == [("a", None, 1.0, 4.0), ("a", None, 1.0, 5.0), ("b", 2, 1.0, 2.0)]


def test_tasks_are_written_in_one_way_and_commas_inside_parentheses_belong_to_them():
    assert parse_setting("task=copy(length=8,longest=5),adding") == ("task", ["copy(length=8,longest=5)", "adding"])
    assert parse_setting("tau=4,16") == ("tau", [4, 16])
    toy = Experiment("toy", "nowhere", {"smoke": {}}, lambda config, key: [])
    config = read_config(toy, {"task": " copy( longest=10, length=8)"})
    assert config["task"] == "copy(length=8)" and config.task == tb.Copy(length=8)
    with pytest.raises(tb.UserError, match=r"task: unknown name 'copi'. Did you mean copy"):
        read_config(toy, {"task": "copi"})


def test_a_killed_cell_finds_its_checkpoint_again_and_a_finished_one_leaves_nothing(tmp_path):
    seen = []

    def measure(config, key):
        path = checkpoint("state")
        seen.append(path.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half way")
        if len(seen) == 1:
            raise KeyboardInterrupt
        return [{"y": 1}]

    (cell,) = cells(Experiment("killed", "nowhere", {"smoke": {"x": 1}}, measure), Choices("smoke"))
    with pytest.raises(KeyboardInterrupt):
        measured(cell, "origin", "here", tmp_path / "scratch")
    assert measured(cell, "origin", "here", tmp_path / "scratch").status == "done"
    assert seen == [False, True] and not (tmp_path / "scratch").exists()
    assert checkpoint("state") is None


def test_a_long_sweep_does_not_keep_all_its_programs(tmp_path, monkeypatch):
    """The programs of some hundred cells filled the memory maps of a process, which died of it."""
    function = jax.jit(lambda x: x + 1)
    kept = []

    def measure(config, key):
        function(jnp.zeros(config["x"]))
        kept.append(function._cache_size())
        return [{"y": 1.0}]

    assert not crowded()
    monkeypatch.setattr("tbptt_jax.lab.measuring.crowded", lambda: len(kept) % 4 == 0)
    monkeypatch.setattr("tbptt_jax.lab.measuring.COMPILES", -1.0)  # however fast it was compiled here
    experiment = Experiment("long", "nowhere", {"smoke": {"x": list(range(1, 11))}}, measure)
    for cell in cells(experiment, Choices("smoke")):
        measured(cell, "origin", "here", tmp_path)
    assert kept == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]


@pytest.mark.parametrize(
    "est, chunk, steps",
    [
        (tb.Full(), 32, 32.0),
        (tb.Segment(4), 4, 4.0),  # the textbook's truncation: an update every tau steps
        (tb.Segment(4, "random"), 32, 32.0),
        (tb.Window(4), 32, 32.0),
        (tb.ARTBP(4.0), 16, float(tb.ARTBP(4.0).law(16).mean_length())),  # 4 times its mean length at most
        (tb.ARTBP(20.0), 32, float(tb.ARTBP(20.0).law(32).mean_length())),
    ],
    ids=str,
)
def test_an_estimator_says_how_it_is_paced_on_a_stream(est, chunk, steps):
    task, steps_an_update = in_a_stream(est, tb.AnBn(length=8), 32)
    assert task.length == chunk and steps_an_update == pytest.approx(steps)
