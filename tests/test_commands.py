"""Commands for finding the way: what there is, a file to start from, what moved."""

import json
import shutil
from pathlib import Path

import pytest

from tests.lab.command import tbptt
from tests.tiers import cases, thorough

RESULTS = Path(__file__).parent.parent / "results"


def test_all_of_one_experiment_is_shown(capfd):
    code, said = tbptt(capfd, "list", "break_even")
    assert code == 0 and "axes at scale smoke" in said and "tau " in said and "On copy, randomized overtakes" in said
    words = json.loads(tbptt(capfd, "list", "averaging", "--json")[1])
    assert words["axes"]["default"]["batch"] == [1, 4, 16] and len(words["claims"]) == 3
    everything = json.loads(tbptt(capfd, "list", "--json")[1])
    assert "break_even" in everything["experiments"] and "segment" in str(everything["estimators"])
    assert "axis" not in tbptt(capfd, "list", "nothing")[1]


@pytest.mark.parametrize("kind, name", cases([("estimator", "MyWay"), ("task", "Parity")], [("estimator", "MyWay")]))
def test_a_file_to_start_from_passes_the_check(capfd, tmp_path, kind, name):
    assert tbptt(capfd, "new", kind, name, "--folder", tmp_path)[0] == 0
    file = tmp_path / {"MyWay": "my_way.py", "Parity": "parity.py"}[name]
    code, said = tbptt(capfd, "check", f"{file}:{name}()")
    assert code == 0 and "all held" in said, said
    code, said = tbptt(capfd, "new", kind, name, "--folder", tmp_path)
    assert code == 2 and "is there already" in said
    assert "got '1st'" in tbptt(capfd, "new", kind, "1st", "--folder", tmp_path)[1]


@thorough
def test_an_experiment_to_start_from_runs(capfd, tmp_path):
    tbptt(capfd, "new", "experiment", "mine", "--folder", tmp_path)
    code, said = tbptt(capfd, "run", tmp_path / "mine.py", "--scale", "smoke", "--debug", results=tmp_path)
    assert code == 0 and "4 done" in said and "figure: " in said
    rows = json.loads(tbptt(capfd, "claims", tmp_path / "mine.py", "--json", results=tmp_path)[1])
    assert rows[0]["outcome"] == "undecided" and rows[0]["written"] == "before its data"
    words = json.loads(tbptt(capfd, "status", tmp_path / "mine.py", "--json", results=tmp_path)[1])
    assert words["cells"] == words["done"] == 4 and words["at work"] == []


def test_what_moved_is_told(capfd, tmp_path):
    for folder in ("a", "b"):
        shutil.copytree(RESULTS / "truncation_patterns", tmp_path / folder / "one")
    assert "1 grids, 0 of them moved" in tbptt(capfd, "compare", tmp_path / "a", tmp_path / "b")[1]
    claims = tmp_path / "b" / "one" / "claims.json"
    claims.write_text(claims.read_text().replace('"holds"', '"violated"', 1))
    (tmp_path / "b" / "one" / "reach.svg").write_text("another")
    said = tbptt(capfd, "compare", tmp_path / "a", tmp_path / "b")[1]
    assert "holds → violated: Full backpropagation" in said and "figure reach.svg" in said and "1 of them" in said
    shutil.rmtree(tmp_path / "b" / "one")
    assert "only in" in tbptt(capfd, "compare", tmp_path / "a", tmp_path / "b")[1]
    assert tbptt(capfd, "compare", tmp_path / "a", tmp_path / "c")[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new", "experiment", "copy"], "new: 'copy' is an experiment that is installed"),
        (["new", "estimator", "none"], "new: a name that Python has no other use for"),
        (["new", "task", "Foo", "--folder", "nowhere"], "--folder: there is no folder nowhere"),
        (["report", "--output", "nowhere/x.html"], "--output: there is no folder nowhere"),
        (["export", "meta_2d", "--output", "nowhere/x.csv"], "--output: there is no folder nowhere"),
        (["plot", "meta_2d", "--output", "a_file"], "--output: a folder is needed, and a_file is a file"),
        (["status", "meta_2d", "--watch", "-1"], "--watch: a number above 0 is needed, got -1"),
        (["run", "meta_2d", "--cap", "5"], "--cap: it bounds the seeds that --until-decided adds"),
        (["status", "mine.py"], "experiment: mine.py has the name of one that is installed, 'copy'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_cannot_be_done_is_said_in_a_line(capfd, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    renamed = "from tbptt_jax.experiments.meta_2d import experiment as one\nfrom dataclasses import replace\n"
    (tmp_path / "mine.py").write_text(renamed + 'experiment = replace(one, name="copy")\ndel one\n')
    code, shown = tbptt(capfd, *words)
    assert code == 2 and shown.strip().splitlines()[-1].startswith(f"tbptt: {said}")
