"""Figures and tables for a paper, and the shell's completion: commands that read what is committed."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.lab.command import tbptt

RESULTS = Path(__file__).parent.parent / "results"
NAME = "pes_variance"


def size_in_inches(path):
    """Width and height of an SVG of matplotlib's, which gives them in points."""
    root = ET.parse(path).getroot()
    return [float(root.get(side).removesuffix("pt")) / 72 for side in ("width", "height")]


def font_sizes(path):
    return {float(size) for size in re.findall(r"font-size: ([\d.]+)px", path.read_text())}


def test_a_figure_for_a_paper(capfd, tmp_path):
    plot = ["plot", NAME, "--output"]
    assert tbptt(capfd, *plot, tmp_path / "as_it_is", results=RESULTS)[0] == 0
    look = ["--format", "pdf,svg", "--width", "3.25in", "--font-size", "4.5", "--select", "pes,nres"]
    code, said = tbptt(capfd, *plot, tmp_path / "paper", *look, results=RESULTS)
    assert code == 0 and "paper/variance.svg" in said and (tmp_path / "paper" / "variance.pdf").stat().st_size > 1000
    whole, paper = (tmp_path / folder / "variance.svg" for folder in ("as_it_is", "paper"))
    width, height = size_in_inches(paper)
    assert width == pytest.approx(3.25) and height / width == pytest.approx(
        size_in_inches(whole)[1] / size_in_inches(whole)[0]
    )
    assert max(font_sizes(paper)) == pytest.approx(max(font_sizes(whole)) / 2)
    assert "truncated_es" in whole.read_text() and "truncated_es" not in paper.read_text()
    assert sorted(path.name for path in (tmp_path / "as_it_is").iterdir()) == ["variance.png", "variance.svg"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--format", "svg,jpg"], "--format: each of svg, png, pdf, got 'jpg'"),
        (["--width", "3"], "--width: a size such as 3.25in, 8cm or 80mm is needed, got '3'"),
        (["--width", "nanin"], "got 'nanin'"),
        (["--font-size", "0"], "--font-size: a number of points from 1 to 100 is needed, got 0"),
        (["--select", "pes,peas"], "got 'peas'"),
    ],
)
def test_a_look_that_cannot_be(capfd, tmp_path, words, said):
    code, output = tbptt(capfd, "plot", NAME, "--output", tmp_path / "figures", *words, results=RESULTS)
    assert code == 2 and said in output and not (tmp_path / "figures").exists()


@pytest.mark.parametrize("words", [["--select", "pes"], ["--width", "3in"], ["--font-size", "8"]])
def test_what_is_drawn_otherwise_does_not_replace_the_committed_figures(capfd, words):
    code, output = tbptt(capfd, "plot", NAME, *words, results=RESULTS)
    assert code == 2 and words[0] in output and "--output" in output


def test_claims_for_a_paper(capfd):
    code, said = tbptt(capfd, "claims", NAME, "--latex", results=RESULTS)
    lines = said.splitlines()
    assert code == 0 and lines[0].startswith("\\begin{tabular}") and lines[-1] == "\\end{tabular}"
    rows = [line for line in lines if line.endswith("\\\\")]
    assert len(rows) == 6 and all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)
    assert not re.search(r"(?<!\\)[%#_]", said) and "‖" not in said
    assert tbptt(capfd, "claims", NAME, "--latex", "--json", results=RESULTS)[0] == 2


def test_claims_that_are_open_say_how_long_deciding_would_take(capfd):
    code, said = tbptt(capfd, "claims", "critics", results=RESULTS)
    measured = " ".join(line.split("│")[3].strip() for line in said.splitlines() if line.startswith("│"))
    assert code == 0 and len(re.findall(r"seeds would decide: [\d.]+ (h|min) of a process", measured)) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_experiment_is_completed(capfd, shell):
    code, script = tbptt(capfd, "completion", shell)
    assert code == 0 and all(word in script for word in ("status", "--until-decided", "break_even", "estimator"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    "line, expected",
    [
        ("tbptt st", ["status"]),
        ("tbptt run bre", ["break_even", "break_even_conditions", "break_even_memory"]),
        ("tbptt new ta", ["task"]),
        ("tbptt new bre", []),
    ],
)
def test_bash_completes(capfd, tmp_path, line, expected):
    script = tbptt(capfd, "completion", "bash")[1]
    words = line.split()
    asked = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _tbptt; echo ${{COMPREPLY[@]}}"
    found = subprocess.run(["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, cwd=tmp_path)
    assert found.stdout.split() == expected and not found.stderr
