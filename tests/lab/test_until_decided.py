"""Seeds are added where claims are open, until they are decided or there are as many as may be."""

import json
import shutil
import textwrap

import polars as pl
import pytest

import tbptt_jax as tb
from tbptt_jax.experiments import load
from tbptt_jax.lab.grid import Choices, cells
from tbptt_jax.lab.plan import plan
from tbptt_jax.records.cell import Cell, Plan
from tbptt_jax.records.committed import as_committed
from tbptt_jax.running.command import next_turn
from tests.lab.test_run import tbptt
from tests.tiers import thorough

FILE = textwrap.dedent(
    """
    from os import environ
    import polars as pl
    import tbptt_jax as tb

    margin = float(environ.get("MARGIN", 0))

    def measure(config, key):
        noise = 0.3 * (config.seed % 3 - 1)
        return [{"loss": {"good": 0.0, "bad": 1.0 + noise, "other": 5.0}[config["kind"]]}]

    def side(kind):
        return tb.lab.Side(kind, pl.col("kind") == kind)

    experiment = tb.lab.Experiment(
        name="mine",
        source="nowhere",
        axes={"default": {"kind": ["good", "bad", "other"], "seed": [0, 1, 2]}},
        measure=measure,
        claims=[
            tb.lab.Claim("Good is smaller.", "nowhere", "loss", side("good"), side("bad"), margin=margin),
            tb.lab.Claim("Other is larger.", "nowhere", "loss", side("other"), side("good"), "above"),
        ],
        checks=[tb.lab.Check("It is a number.", "nowhere", lambda table: (table["loss"].is_finite().all(), ""))],
    )
    """
)


def test_seeds_are_added_where_claims_are_open(tmp_path, capfd, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    about = ["--until-decided", "--about", "other is larger"]
    code, said = tbptt(capfd, "run", str(file), "--debug", *about, results=tmp_path)
    assert code == 0 and "none of 1 open claims has the words 'other is larger'" in said
    about[-1] = "good is"
    code, said = tbptt(capfd, "run", str(file), "--debug", *about, "--cap", "8", results=tmp_path)
    assert code == 0 and "open claims: 1; seeds added: 1, of 5 at most" in said
    claims = json.loads((tmp_path / "mine" / "claims.json").read_text())
    assert [claim["outcome"] for claim in claims] == ["reproduced", "reproduced", "holds"]
    assert {claim["written"] for claim in claims[:2]} == {"before its data"}
    table = pl.read_parquet(tmp_path / "mine" / "table.parquet")
    seeds = dict(table.group_by("kind").agg(pl.col("seed").n_unique()).rows())
    assert seeds["other"] == 3 < seeds["good"] == seeds["bad"] < 8  # the claim about the other was decided at once
    code, said = tbptt(capfd, "run", str(file), "--debug", results=tmp_path)  # the same grid: it keeps what was added
    assert code == 0 and pl.read_parquet(tmp_path / "mine" / "table.parquet").height == table.height
    shutil.rmtree(tmp_path / "mine" / "cells")  # as in a fresh clone
    said = tbptt(capfd, "run", str(file), "--debug", results=tmp_path)[1]
    assert f"taken over from the committed table: {table.height} cells" in said
    assert pl.read_parquet(tmp_path / "mine" / "table.parquet").height == table.height

    monkeypatch.setenv("MARGIN", "0.5")  # the rule is another, and nothing that was measured
    file.write_text(file.read_text())  # so that it is read anew
    tbptt(capfd, "run", str(file), "--debug", results=tmp_path)
    claims = json.loads((tmp_path / "mine" / "claims.json").read_text())
    assert claims[0]["written"] == "after some of its data" and claims[1]["written"] == "before its data"


def test_where_seeds_are_no_axis_none_can_be_added():
    with pytest.raises(tb.UserError, match="--until-decided: pes_variance has no axis seed"):
        cells(load("pes_variance"), Choices(cap=40))


@thorough
def test_committed_records_can_be_kept_when_code_changes(tmp_path, capfd):
    def run(*words):
        said = tbptt(capfd, "run", str(file), *words, results=tmp_path)[1]
        shutil.rmtree(tmp_path / "mine" / "cells")  # as in a fresh clone
        return said, pl.read_parquet(tmp_path / "mine" / "table.parquet")

    file = tmp_path / "mine.py"
    file.write_text(FILE)
    _, first = run()
    file.write_text(FILE.replace('"bad": 1.0', '"bad": 1.5'))
    more = ["--until-decided", "--cap", "5", "--about", "good is"]
    said, kept = run(*more, "--keep")
    assert "taken over from the committed table: 9 cells" in said and "stale" not in said
    assert kept.join(first, on=first.columns, how="semi").height == 9
    of_new_code = kept.filter((pl.col("kind") == "bad") & (pl.col("seed") > 2)).sort("seed")
    assert of_new_code["loss"].to_list() == pytest.approx([1.2])
    experiment, folder = load(str(file)), tmp_path / "mine"
    now, other = plan(experiment, Choices()), plan(experiment, Choices(), "float16")
    assert not {cell.key for cell in as_committed(now, folder).cells} & {cell.key for cell in now.cells}
    assert as_committed(other, folder).cells == other.cells  # of another precision nothing is kept
    said, new = run(*more)  # without it, what other code has measured is measured again
    assert new.filter(pl.col("kind") == "bad").sort("seed")["loss"].to_list() == pytest.approx([1.2, 1.5, 1.8, 1.2])


def test_added_seeds_follow_those_of_the_grid(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    experiment = load(str(file))
    assert sorted({one.seed for one in cells(experiment, Choices(cap=5))}) == [0, 1, 2, 3, 4]
    assert len(cells(experiment, Choices(cap=2))) == 9  # fewer than there are take none away
    assert str(Choices(cap=5)) == str(Choices())
    assert len(plan(experiment, Choices()).cells) == 9  # no seed is thought of that nobody asked for
    assert sorted({(cell.columns["seed"], cell.turn) for cell in plan(experiment, Choices(cap=5)).cells})[-2:] == [
        (3, 1),
        (4, 2),
    ]
    file.write_text(FILE.replace('"seed": [0, 1, 2]', '"seed": 0, "seeds": 4'))
    assert sorted({one.seed for one in cells(load(str(file)), Choices(cap=12))}) == [0, 4, 8]
    file.write_text(FILE.replace(', "seed": [0, 1, 2]', ""))
    with pytest.raises(ValueError, match="seed"):
        cells(load(str(file)), Choices(cap=12))


def test_a_turn_adds_a_quarter_more_seeds():
    def turns(own, last):
        planned = Plan(
            "", 0, "", [Cell("", "", {}, {"seed": seed}, max(0, seed - own + 1)) for seed in range(own + last)], {}, {}
        )
        found = [0]
        while found[-1] < last:
            found.append(next_turn(planned, found[-1], last))
        return found

    assert turns(3, 7) == [0, 1, 2, 3, 4, 5, 7]
    assert turns(40, 35) == [0, 10, 22, 35]
    assert turns(1, 1) == [0, 1]
