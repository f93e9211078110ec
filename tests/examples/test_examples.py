"""Every example runs, and what it trains learns."""

import runpy
from pathlib import Path

import pytest

from tests.tiers import cases

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", cases(EXAMPLES, lambda path: "nnx" in path.stem), ids=lambda path: path.stem)
def test_an_example_learns(path):
    if "equinox" in path.stem:
        pytest.importorskip("equinox", reason="the extra `ecosystem` is not installed")
    losses = runpy.run_path(str(path))["main"]()
    assert losses[-1] < 0.8 * losses[0]
