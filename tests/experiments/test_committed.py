"""The experiments that are committed: each is whole, and its verdicts and figures follow from its table."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import polars as pl
import pytest

from tbptt_jax import experiments
from tbptt_jax.lab.grid import Choices, cells
from tbptt_jax.records.committed import TABLE

RESULTS = Path(__file__).parent.parent.parent / "results"
NAMES = experiments.names()


def committed(name):
    """The table in the repository, whatever cells this machine may have beside it."""
    return pl.read_parquet(RESULTS / name / TABLE)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_is_whole(name):
    experiment = experiments.load(name)
    assert experiment.name == name and experiment.summary and experiment.plot
    assert experiment.claims or experiment.checks
    assert set(experiment.axes) == {"smoke", "default", "paper"}
    for scale in experiment.axes:
        assert cells(experiment, Choices(scale))
    assert all(one.source for one in (*experiment.claims, *experiment.checks))


def test_every_experiment_has_committed_results():
    assert sorted(path.parent.name for path in RESULTS.glob(f"*/{TABLE}")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_verdicts_follow_from_the_committed_table(name):
    rows = json.loads((RESULTS / name / "claims.json").read_text())
    experiment, table = experiments.load(name), committed(name)
    judged = [*experiment.claims, *experiment.checks]
    assert [one.sentence for one in judged] == [row.get("claim", row.get("check")) for row in rows]
    for one, row in zip(judged, rows):
        assert one.verdict(table)[:2] == (row["outcome"], row["measured"]), one.sentence
        assert one.rule == row.get("rule", ""), one.sentence


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_figures_follow_from_the_committed_table(name):
    """Each is drawn, nothing is lacking, and there are no others; that figures are saved is tested with `measure`."""
    figures = experiments.load(name).plot(committed(name))
    files = RESULTS.joinpath(name).glob("*.png")
    assert sorted(figures) == sorted(path.stem for path in files)
    for draw in figures.values():
        drawn = draw()
        assert any(axes.has_data() for axes in drawn.axes)
        plt.close(drawn)
    sizes = {path: path.stat().st_size for path in RESULTS.joinpath(name).iterdir() if path.is_file()}
    assert all(size <= (5_000_000 if path.suffix == ".parquet" else 300_000) for path, size in sizes.items())


def test_published_values_stand_beside_the_methods_that_they_are_of():
    def published(table):
        figure = experiments.load("copy").plot(table)["perplexity"]()
        lines = [line for axes in figure.axes for line in axes.lines if line.get_linewidth() == 1.6]
        plt.close(figure)
        return len(lines)

    table = committed("copy")
    assert published(table) == 16
    assert published(table.with_columns(series=pl.col("series").str.replace("^rolling$", "my.py:Mine"))) == 6
