"""The report: a single HTML file of claims, experiments, figures and an explorer, which needs nothing but a browser.

It is made of what stands in a results folder (verdicts, figures, tables and where they come from), and of what the
experiments say of themselves. Figures are vectors inside the page; numbers are embedded as JSON, and `page.js` sorts,
filters and draws.
"""

import base64
import html
import inspect
import json
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

from tbptt_jax import experiments
from tbptt_jax.errors import UserError
from tbptt_jax.records.committed import TABLE
from tbptt_jax.version import __version__

EXPLORED = "bias_variance"
GROUPS = ("cell", "radius", "training")
OPEN = "undecided"
SHORT = 140  # characters


def report(results: Path) -> str:
    """The page for a results folder."""
    folders = sorted(path.parent for path in results.glob("*/claims.json"))
    if not folders:
        raise UserError(f"results: a folder with results is needed, got {results}, where no claims.json lies")
    found = [Told(folder) for folder in folders]
    here = files("tbptt_jax.report")
    return Template(here.joinpath("page.html").read_text("utf-8")).substitute(
        version=__version__,
        style=here.joinpath("page.css").read_text("utf-8"),
        script=here.joinpath("page.js").read_text("utf-8"),
        summary=counted(found),
        names="".join(f'<a href="#{one.name}">{one.name}</a>' for one in found),
        options="".join(f"<option>{one.name}</option>" for one in found),
        outcomes="".join(f"<option>{name}</option>" for name in sorted({row["outcome"] for row in all_rows(found)})),
        rows="".join(claim_row(one.name, row) for one in found for row in one.verdicts),
        sections="".join(one.section() for one in found),
        explored=json.dumps(explored(results / EXPLORED / TABLE)).replace("</", "<\\/"),
    )


def all_rows(found: Iterable["Told"]) -> list[dict[str, Any]]:
    return [row for one in found for row in one.verdicts]


def counted(found: list["Told"]) -> str:
    """How many claims came out how."""
    rows = [row for row in all_rows(found) if "claim" in row]
    outcomes = sorted({row["outcome"] for row in rows}, key=lambda name: (name == OPEN, name))
    words = [f"{sum(row['outcome'] == name for row in rows)} {name}" for name in outcomes]
    checks = [row for row in all_rows(found) if "check" in row]
    held = sum(row["outcome"] == "holds" for row in checks)
    return f"{len(rows)} claims of {len(found)} experiments: {', '.join(words)}. {held} of {len(checks)} checks hold."


class Told:
    """What a folder of results tells of one experiment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.verdicts: list[dict[str, Any]] = json.loads((folder / "claims.json").read_text("utf-8"))
        provenance = folder / "provenance.json"
        self.provenance = json.loads(provenance.read_text("utf-8")) if provenance.exists() else {}
        self.experiment = experiments.load(self.name) if self.name in experiments.names() else None

    def section(self) -> str:
        summary, idea, source = "", "", ""
        if self.experiment is not None:
            package = import_module(f"tbptt_jax.experiments.{self.name}")
            summary, source = self.experiment.summary, self.experiment.source
            idea = paragraphs(inspect.getdoc(package) or "")
        rows = "".join(claim_row(self.name, row, in_section=True) for row in self.verdicts)
        return (
            f'<section id="{self.name}"><h2><a href="#{self.name}">{self.name}</a></h2><p class="lead">'
            f"{html.escape(summary)}</p>{idea}<p><b>Source:</b> {html.escape(source)}</p>{self.figures()}"
            f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>{self.settings()}</section>'
        )

    def figures(self) -> str:
        return "".join(
            f'<figure><img loading="lazy" alt="{self.name}: {path.stem}" src="data:image/svg+xml;base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}"><figcaption>{path.stem.replace("_", " ")}</figcaption>'
            "</figure>"
            for path in sorted(self.folder.glob("*.svg"))
        )

    def settings(self) -> str:
        """What was run, and where it comes from."""
        axes = self.experiment.axes.get("default", {}) if self.experiment is not None else {}
        rows = [(name, values_of(value)) for name, value in axes.items()]
        measured = self.folder / TABLE
        if measured.exists():
            rows.append(("rows of the table", f"{pl.scan_parquet(measured).select(pl.len()).collect().item():,}"))
        rows += [(name, values_of(self.provenance[name])) for name in ("command", "cells") if name in self.provenance]
        made = self.provenance.get("measured", [self.provenance])
        for name in ("tbptt_jax", "jax", "python", "device", "commit"):
            values = sorted({str(one[name]) for one in made if isinstance(one, Mapping) and one.get(name)})
            if values:
                rows.append((name, ", ".join(values)))
        lines = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
        table = f'<div class="scroll"><table>{lines}</table></div>'
        return f"<details><summary>settings and provenance</summary>{table}</details>"


def claim_row(name: str, row: Mapping[str, Any], in_section: bool = False) -> str:
    """A claim or a check as a line of a table."""
    sentence = row.get("claim", row.get("check", ""))
    kind = "claim" if "claim" in row else "check"
    outcome = str(row["outcome"])
    link = "" if in_section else f'<td><a href="#{name}">{name}</a></td>'
    written = row.get("written", "")
    note = f'<div class="small">rule written {html.escape(str(written))}</div>' if written else ""
    return (
        f'<tr class="{outcome.replace(" ", "-")}">{link}<td>{html.escape(sentence)}'
        f'<div class="small">{html.escape(row.get("source", ""))}</div></td>'
        f'<td><span class="outcome">{html.escape(outcome)}</span><div class="small">{kind}</div></td>'
        f'<td class="measured">{folded(str(row.get("measured", "")))}{note}</td></tr>'
    )


def folded(text: str) -> str:
    """What is long opens on a click."""
    if len(text) <= SHORT:
        return html.escape(text)
    first = text[:SHORT].rsplit(" ", 1)[0]
    return f"<details><summary>{html.escape(first)} …</summary>{html.escape(text[len(first) :])}</details>"


def paragraphs(text: str) -> str:
    """Plain prose in its paragraphs."""
    parts = [part.replace("\n", " ") for part in text.split("\n\n")]
    return "".join(f"<p>{html.escape(part)}</p>" for part in parts)


def values_of(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def explored(table: Path) -> list[dict[str, Any]]:
    """The bias–variance table for the explorer: the middle network of each setting, exact where that is known."""
    if not table.exists():
        return []
    frame = pl.read_parquet(table)
    columns = [*GROUPS, "estimator", "method"]
    if not {*columns, "bias", "variance"} <= set(frame.columns):
        return []
    values = [pl.col(name).median() for name in ("bias", "variance")]
    return frame.group_by(columns).agg(*values, pl.len().alias("networks")).sort(columns).to_dicts()
