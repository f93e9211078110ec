"""The report: a page that is whole, needs no network, and whose script runs."""

import json
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tbptt_jax as tb
from tbptt_jax.cli import main
from tbptt_jax.report.page import folded, report

RESULTS = Path(__file__).parent.parent / "results"
EMPTY = {"meta", "link", "input", "img", "br", "hr"}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """What a page holds; unbalanced tags are an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.sources = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.sources += [given["src"]] if "src" in given else []
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text():
    return report(RESULTS)


def test_the_page_is_whole_and_needs_no_network(text):
    page = Page(text)
    assert max(Counter(page.ids).values()) == 1
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.sources and all(source.startswith("data:image/svg+xml") for source in page.sources)
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text


def test_every_verdict_and_figure_is_there(text):
    folders = sorted(path.parent for path in RESULTS.glob("*/claims.json"))
    verdicts = [row for folder in folders for row in json.loads((folder / "claims.json").read_text())]
    assert text.count('<span class="outcome">') == 2 * len(verdicts)  # in the table of all, and with its experiment
    assert text.count("<figure>") == sum(len(list(folder.glob("*.svg"))) for folder in folders)
    explored = text.partition('<script type="application/json" id="explored">')[2].partition("</script>")[0]
    rows = json.loads(explored)
    assert {"bias", "variance", "estimator", "cell"} <= set(rows[0])


def test_what_is_strange_is_escaped(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    row = {"claim": "<b>a</b>", "source": "&", "outcome": "undecided", "measured": "</td>" * 100}
    (folder / "claims.json").write_text(json.dumps([row]))
    page = report(tmp_path)
    Page(page)
    assert "&lt;b&gt;a&lt;/b&gt;" in page and "<b>a" not in page
    assert folded("short") == "short"


def test_the_command_writes_it(tmp_path, capsys):
    assert main(["report", "--results", str(RESULTS), "--output", str(tmp_path / "page.html")]) == 0
    assert "page.html" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(tb.UserError, match=r"results: .*claims\.json"):
        report(tmp_path)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_its_script_sorts_filters_and_draws_in_a_browser(tmp_path, text):
    file = tmp_path / "page.html"
    file.write_text(text)

    def loaded(query):
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/browser"]
        said = subprocess.run(
            [*command, "--enable-logging=stderr", "--dump-dom", f"file://{file}{query}"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "CONSOLE" not in said.stderr, said.stderr
        return said.stdout

    whole = loaded("")
    count = text.count('<span class="outcome">') // 2
    assert f'<output id="count">{count} of {count}</output>' in whole
    assert whole.count("<circle") > 20
    some = loaded("?experiment=break_even&sort=1")
    shown = len(json.loads((RESULTS / "break_even" / "claims.json").read_text()))
    assert f'<output id="count">{shown} of {count}</output>' in some and 'data-order="1"' in some
