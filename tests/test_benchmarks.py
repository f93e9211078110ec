"""What is timed is the same computation on all sides."""

from functools import partial
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.benchmarks import compiling, growth, memory, parallel, speed, training
from tbptt_jax.records.committed import TABLE
from tests.tiers import cases, thorough

RESULTS = Path(__file__).parent.parent / "results"


@pytest.mark.parametrize("cell", cases(["tanh", "lstm", "gru"], ["tanh"]))
def test_all_sides_give_the_same_gradient(monkeypatch, cell):
    """In float64, so that only another computation could differ; PyTorch's own is held to it where it is installed."""
    monkeypatch.setattr(speed, "LENGTH", 12)
    monkeypatch.setattr(speed, "TAU", 4)
    at = speed.problem(cell, 2, 3)
    exact = tb.gradient(tb.Segment(4), at.model, at.params, at.batch)
    for side in (speed.careful, speed.naive):
        other = side(at.model, at.params, at.batch)
        for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(other), strict=True):
            assert np.max(np.abs(a - b)) < 1e-12


def test_another_gradient_is_refused(monkeypatch):
    monkeypatch.setattr(speed, "LENGTH", 12)
    monkeypatch.setattr(speed, "TAU", 4)
    monkeypatch.setattr(speed, "careful", lambda model, params, batch: jax.tree.map(lambda leaf: 2.0 * leaf, params))
    with pytest.raises(ValueError, match="the gradient of careful is another"):
        speed.agreeing(speed.problem("tanh", 2, 3))


def test_the_table_and_the_figure_are_kept(tmp_path):
    rows = [
        {"cell": "tanh", "batch_size": 1, "hidden": 2, "peer": peer, "seconds": 1.0 + i}
        for i, peer in enumerate(("careful", "naive", "ours"))
    ]
    speed.keep(pl.DataFrame(rows), "A CPU (R)", tmp_path)
    assert {path.name for path in (tmp_path / "speed" / "a_cpu_r").iterdir()} == {
        "table.parquet",
        "gradient.svg",
        "gradient.png",
    }


@pytest.mark.parametrize("figure", [growth.figure, memory.figure, partial(speed.figure, device="cpu")])
def test_figures_are_drawn_from_the_committed_tables(figure):
    room = getattr(figure, "func", figure).__module__.rpartition(".")[2]
    tables = list(RESULTS.glob(f"{room}/*/{TABLE}"))
    assert tables
    for table in tables:
        drawn = figure(pl.read_parquet(table))
        assert any(axes.has_data() for axes in drawn.axes)
        assert [path.suffix for path in sorted(table.parent.iterdir())].count(".png") == 1
        plt.close(drawn)


@thorough
def test_memory_is_that_of_the_look_back_where_states_are_bounded(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "FAMILIES", {"two": ["full()", "segment(tau=4, in_order=True)"]})
    memory.main(results=tmp_path, lengths=[64, 128, 256])
    said = capsys.readouterr().out
    grows, stays = (line.split() for line in said.splitlines() if line.startswith(("full", "segment")))
    assert 0.9 < float(grows[-2]) < 1.1 and float(stays[-2]) < 0.1 and stays[-1] == "4"
    assert next(tmp_path.glob("memory/*/temporaries.svg")).stat().st_size > 1000


@thorough
def test_trainings_side_by_side_are_timed(capsys, monkeypatch):
    for name, value in {"RUNS": 2, "LENGTH": 2, "HIDDEN": 2, "UPDATES": 2}.items():
        monkeypatch.setattr(training, name, value)
    training.main(rounds=1)
    assert capsys.readouterr().out.count("\nB = ") == 4


@thorough
def test_what_is_compiled_is_timed(capsys, monkeypatch):
    for name, value in {"LENGTH": 2, "BATCH": 1, "HIDDEN": 2, "CUTS": [tb.Segment(2)]}.items():
        monkeypatch.setattr(compiling, name, value)
    compiling.main(rounds=1)
    said = capsys.readouterr().out
    assert said.count("jax.grad ") == said.count("segment(tau=2) ") == 2


def test_both_ways_of_a_linear_recurrence_are_timed_and_are_the_same(capsys, monkeypatch):
    monkeypatch.setattr(parallel, "SIZES", [(20, 2, 3)])
    parallel.main(rounds=1)
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["20", "2", "3"]
    one, other = (jax.tree.leaves(program()) for program in parallel.gradients(20, 2, 3).values())
    assert all(np.max(np.abs(a - b)) < 1e-12 for a, b in zip(one, other, strict=True))


@thorough
def test_exponents_are_those_of_what_grows(capsys, monkeypatch, tmp_path):
    """Of the memory, which the compiler knows; times of so small programs say nothing."""
    monkeypatch.setattr(growth, "SIZES", {"T": 16, "tau": 4, "B": 2, "H": 8, "samples": 1})
    monkeypatch.setattr(growth, "FROM", growth.SIZES | {"samples": 4})
    chosen = {name: growth.ESTIMATORS[name] for name in ("window(tau={tau})", "uoro()")}
    growth.main(rounds=1, results=tmp_path, estimators=chosen)
    assert "window(tau=4)" in capsys.readouterr().out
    table = pl.read_parquet(next(tmp_path.glob("growth/*/table.parquet")))
    assert table["estimator"].n_unique() == 2 and next(tmp_path.glob("growth/*/exponents.svg")).is_file()
    found = {(one, size): e for one, size, of, e, _ in table.rows() if of == "memory"}
    assert 0.8 < found["window(tau=4)", "T"] < 1.2 and 0.8 < found["uoro()", "samples"] < 1.2
    assert ("uoro()", "tau") not in found and ("window(tau=4)", "samples") not in found
    assert growth.exponent([3.0, 12.0, 48.0]) == pytest.approx(2)
