"""Every block of Python in the README and the docs runs, in the order in which it stands there."""

import inspect
import re
from pathlib import Path

import pytest

import tbptt_jax as tb
from tests.tiers import cases

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
WITH_CODE = [page for page in PAGES if "```python" in (ROOT / page).read_text()]
LONG = ("docs/estimators.md", "docs/exact.md", "docs/limitations.md", "docs/training.md", "docs/truncate.md")
FRAGMENTS = ("# my.py", "# my_task.py", "    @classmethod", "    def law")
"""How files begin, which other tests check, and parts of such."""


@pytest.mark.parametrize("page", cases(WITH_CODE, lambda page: page not in LONG))
def test_every_block_runs(page):
    text = (ROOT / page).read_text()
    namespace = {"__name__": "a_page"}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        if not block.startswith(FRAGMENTS):
            exec(compile(block, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_reference_shows_every_public_name():
    shown = set(re.findall(r"^::: (\S+)", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE))
    others = {"critics", "exact", "lab", "__version__", "jaxtyping"}  # rooms; and what the tests' own hook brings along
    public = {name: getattr(tb, name) for name in dir(tb) if name not in others}
    lacking = {name for name, value in public.items() if value.__module__ not in shown}
    assert not lacking


def test_public_functions_document_every_argument():
    public = [*vars(tb.exact).values(), *vars(tb.lab).values(), *(getattr(tb, name) for name in dir(tb))]
    functions = {value for value in public if inspect.isfunction(value)}
    for function in functions:
        parameters, text = inspect.signature(function).parameters.values(), inspect.getdoc(function)
        if function.__module__.startswith("tbptt_jax") and parameters:
            assert "\nReturns:\n" in text, function
            for one in parameters:
                named = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "") + one.name
                assert f"\n    {named}: " in text, (function, named)
    assert len(functions) > 30


def test_the_front_door_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130
