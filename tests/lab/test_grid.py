"""Cells: what makes two the same, what may be overridden, and what is refused before anything runs."""

from dataclasses import replace

import pytest

import tbptt_jax as tb
from tbptt_jax.errors import UserError
from tbptt_jax.lab.config import read_config
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import Choices, cells, parse_setting
from tbptt_jax.lab.table import tidy
from tbptt_jax.records.record import Record


def experiment(version=1, **axes):
    axes = axes or {"tau": [2, 4], "estimator": ["segment", "full"], "rate": 0.5, "seeds": 3, "cell": "tanh"}
    return tb.lab.Experiment("toy", "nowhere", {"smoke": axes}, measure=lambda config, key: [], version=version)


def test_the_grid_has_every_cell_once_and_no_length_where_there_is_none():
    found = cells(experiment(), Choices("smoke"))
    assert [(c["estimator"], c.tau) for c in found] == [("segment", 2), ("full()", None), ("segment", 4)]
    assert [c.estimator for c in found] == [tb.Segment(2), tb.Full(), tb.Segment(4)]
    assert found[0].columns == {
        **{"cell": "tanh", "rate": 0.5, "seeds": 3, "tau": 2},
        **{"estimator": "segment(tau=2)", "series": "segment", "method": "segment", "unbiased": "never"},
    }
    assert found[1].columns["series"] == found[1].columns["estimator"] == "full()" and found[0].seed == 0


def test_spelling_and_order_do_not_matter_but_values_and_versions_do():
    toy = experiment()

    def identity(toy=toy, **axes):
        return read_config(toy, axes).identity

    a = identity(tau=4, rate=0.5, estimator="segment(8)")
    assert a == identity(estimator=" segment( tau=8, offset=0 )", rate=0.5)
    assert identity(tau=4.0) == identity(tau=4) != identity(tau=5)
    assert a != identity(experiment(version=2), rate=0.5, estimator="segment(8)")


def test_an_axis_that_is_added_leaves_what_was_measured_before_as_it_was():
    toy = experiment()
    wider = replace(toy, axes={"smoke": {**toy.axes["smoke"], "noise": [0.0, 0.5]}}, added={"noise": 0.0})
    axes = {"rate": 1, "estimator": "segment(8)"}
    before, same, noisy = (
        read_config(*one) for one in ((toy, axes), (wider, axes | {"noise": 0.0}), (wider, axes | {"noise": 0.5}))
    )
    assert before.identity == same.identity != noisy.identity
    records = [Record(c.identity, "", c.columns, "done", "", [{"loss": 2.0}], "", 1.0) for c in (before, noisy)]
    assert tidy(wider, records)["noise"].to_list() == [0.0, 0.5]
    with pytest.raises(UserError, match=r"added: names of axes are needed, got \['nois'\]"):
        replace(toy, added={"nois": 0.0})
    with pytest.raises(UserError, match=r"added: axes of plain values are needed, got \['tau'\]"):
        replace(toy, added={"tau": 2})


def test_settings_are_read_and_override_axes():
    assert parse_setting("tau=4,16, 64") == ("tau", [4, 16, 64])
    assert parse_setting("cell=gru,lstm") == ("cell", ["gru", "lstm"])
    nested = "randomized(keep=0.5, critic=features(count=4, seed=1))"
    assert parse_setting(f"estimator={nested},full()") == ("estimator", [nested, "full()"])
    chosen = Choices("smoke", ["tau=8", "rate=1"], ["window", "artbp(length=3)"])
    found = cells(experiment(), chosen)
    assert [c["estimator"] for c in found] == ["window", "artbp(length=3)"] and found[0]["rate"] == 1
    more = cells(experiment(), Choices("smoke", ["tau=8"], added_estimators=["window"]))
    assert [c["estimator"] for c in more] == ["segment", "full()", "window"]


MINE = """
from dataclasses import dataclass
import jax.numpy as jnp
import tbptt_jax as tb
from neighbour import KEEP

@dataclass(frozen=True)
class Mine(tb.GatedEstimator):
    keep: float = KEEP
    unbiased = "chunk"

    @classmethod
    def of_length(cls, tau):
        return cls(1 - 1 / tau)

    def gates(self, key, length, batch_size):
        return jnp.ones((length, batch_size))
"""


def test_a_users_estimator_takes_its_length_from_the_axis_and_its_file_imports_its_neighbours(tmp_path):
    (tmp_path / "neighbour.py").write_text("KEEP = 0.75")
    (tmp_path / "my.py").write_text(MINE)
    path = f"{tmp_path}/my.py"
    found = cells(
        experiment(), Choices("smoke", estimators=[f"{path}:Mine", f"{path}:Mine()", f"{path}:Mine(keep=0.9)"])
    )
    assert [(c.tau, c.estimator.keep) for c in found] == [(2, 0.5), (None, 0.75), (None, 0.9), (4, 0.75)]
    assert found[0].columns["series"] == found[0].columns["method"] == "my.py:Mine"
    assert found[0]["estimator"] == f"{path}:Mine"
    assert found[0].columns["estimator"] == "my.py:Mine(keep=0.5)" and found[0].columns["unbiased"] == "chunk"
    assert found[2].columns["series"] == "my.py:Mine(keep=0.9)"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "my.py").write_text(MINE)
    with pytest.raises(tb.UserError, match=r"would have the same name my\.py:Mine"):
        cells(experiment(), Choices("smoke", estimators=[f"{path}:Mine", f"{tmp_path}/other/my.py:Mine"]))


def test_estimators_that_belong_together_are_one_cell():
    axes = {"estimator": ["full()", "segment"], "tau": 4}
    toy = Experiment("together", "nowhere", {"smoke": axes}, lambda config, key: [], together=("estimator",))
    (cell,) = cells(toy, Choices("smoke", added_estimators=["window(tau=2)", "full", "segment"]))
    assert [one.estimator for one in cell.chosen] == [tb.Full(), tb.Segment(4), tb.Window(2)]
    assert [one.series for one in cell.chosen] == cell["estimator"] == ["full()", "segment", "window(tau=2)"]


@pytest.mark.parametrize(
    "choices, words",
    [
        (Choices("smke"), "scale: unknown name 'smke'. Did you mean smoke"),
        (Choices("smoke", ["taus=1"]), "axis: unknown name 'taus'. Did you mean tau"),
        (Choices("smoke", ["tau=many"]), "axis tau: int is needed, got 'many'"),
        (Choices("smoke", ["tau=2.5"]), "axis tau: int is needed, got 2.5"),
        (Choices("smoke", estimators=["segmnt"]), "estimator: unknown name 'segmnt'. Did you mean segment"),
        (Choices("smoke", estimators=["window(tau=0)"]), "window: tau must be a whole number"),
        (Choices("smoke", added_estimators=["segmnt"]), "estimator: unknown name 'segmnt'. Did you mean segment"),
    ],
)
def test_what_cannot_be_is_refused(choices, words):
    with pytest.raises(tb.UserError, match=words):
        cells(experiment(), choices)


def test_a_cell_is_known_at_once_where_an_axis_is_of_cells():
    def named(*names):
        return Experiment("of_cells", "nowhere", {"smoke": {"cell": list(names)}}, lambda config, key: [])

    assert [cell["cell"] for cell in cells(named("tanh"), Choices("smoke", ["cell=gru,elstm"]))] == ["gru", "elstm"]
    with pytest.raises(tb.UserError, match=r"cell: unknown name 'foo'\. Known: elstm"):
        cells(named("tanh", "lstm"), Choices("smoke", ["cell=foo"]))
    assert [cell["cell"] for cell in cells(named("mine"), Choices("smoke", ["cell=foo"]))] == ["foo"]


@pytest.mark.parametrize("text", ["tau", "=4", "tau="])
def test_settings_need_a_name_and_values(text):
    with pytest.raises(ValueError, match="AXIS=VALUE"):
        parse_setting(text)


def test_experiments_and_claims_say_what_they_need():
    with pytest.raises(ValueError, match="name: letters, digits"):
        tb.lab.Experiment("a b", "", {"smoke": {}}, measure=lambda config, key: [])
    with pytest.raises(ValueError, match="axes: scales among"):
        tb.lab.Experiment("a", "", {"tiny": {}}, measure=lambda config, key: [])


def test_cells_that_make_no_sense_are_left_out():
    axes = {"smoke": {"x": [1, 2], "y": [1, 2]}}
    experiment = Experiment("sparse", "nowhere", axes, lambda config, key: [], makes_sense=lambda c: c["x"] <= c["y"])
    assert [(c["x"], c["y"]) for c in cells(experiment, Choices("smoke"))] == [(1, 1), (1, 2), (2, 2)]
    assert [(c["x"], c["y"]) for c in cells(experiment, Choices("smoke", ["x=2"]))] == [(2, 2)]
