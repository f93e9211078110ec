"""Cells: what makes two the same, what may be overridden, and what is refused before anything runs."""

import pytest

import tbptt_jax as tb
from tbptt_jax.lab.experiment import Experiment
from tbptt_jax.lab.grid import canonical, cells, estimator_of, identity, parse_setting


def experiment(version=1, **axes):
    axes = axes or {"tau": [2, 4], "estimator": ["segment", "full"], "rate": 0.5, "seeds": 3, "cell": "tanh"}
    return tb.lab.Experiment("toy", "nowhere", {"smoke": axes}, measure=lambda config, key: [], version=version)


def test_the_grid_has_every_cell_once_and_no_length_where_there_is_none():
    found = cells(experiment(), "smoke")
    assert [(c["estimator"], c.get("tau")) for c in found] == [("segment", 2), ("full()", None), ("segment", 4)]
    assert estimator_of(found[0]) == tb.Segment(2) and estimator_of(found[1]) == tb.Full()


def test_spelling_and_order_do_not_matter_but_values_and_versions_do():
    toy = experiment()
    a = canonical({"tau": 4, "rate": 0.5, "estimator": "segment(8)"})
    b = canonical({"estimator": " segment( tau=8, offset=0 )", "rate": 0.5})
    assert identity(toy, a) == identity(toy, b)
    assert identity(toy, canonical({"tau": 4.0})) == identity(toy, canonical({"tau": 4}))
    assert identity(toy, canonical({"tau": 4})) != identity(toy, canonical({"tau": 5}))
    assert identity(toy, a) != identity(experiment(version=2), a)


def test_settings_are_read_and_override_axes():
    assert parse_setting("tau=4,16, 64") == ("tau", [4, 16, 64])
    assert parse_setting("cell=gru,lstm") == ("cell", ["gru", "lstm"])
    found = cells(experiment(), "smoke", {"tau": [8], "rate": [1], "estimator": ["window", "artbp(length=3)"]})
    assert [c["estimator"] for c in found] == ["window", "artbp(length=3)"] and found[0]["rate"] == 1


@pytest.mark.parametrize(
    "scale, overrides, words",
    [
        ("smke", {}, "scale: unknown name 'smke'. Did you mean smoke"),
        ("smoke", {"taus": [1]}, "axis: unknown name 'taus'. Did you mean tau"),
        ("smoke", {"tau": ["many"]}, "axis tau: int is needed, got 'many'"),
        ("smoke", {"tau": [2.5]}, "axis tau: int is needed, got 2.5"),
        ("smoke", {"estimator": ["segmnt"]}, "estimator: unknown name 'segmnt'. Did you mean segment"),
        ("smoke", {"estimator": ["window(tau=0)"]}, "window: tau must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused(scale, overrides, words):
    with pytest.raises(ValueError, match=words):
        cells(experiment(), scale, overrides)


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
    assert [(c["x"], c["y"]) for c in cells(experiment, "smoke")] == [(1, 1), (1, 2), (2, 2)]
    assert [(c["x"], c["y"]) for c in cells(experiment, "smoke", {"x": [2]})] == [(2, 2)]
