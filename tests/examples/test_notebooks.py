"""Every notebook runs from top to bottom; what it asserts holds."""

import runpy
from pathlib import Path

import jax
import matplotlib
import matplotlib.pyplot as plt
import pytest

from tests.tiers import thorough

NOTEBOOKS = sorted((Path(__file__).parent.parent.parent / "notebooks").glob("*.py"))


@thorough
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    matplotlib.use("Agg")
    precise = jax.config.jax_enable_x64
    try:
        said = runpy.run_path(str(path))
    finally:
        jax.config.update("jax_enable_x64", precise)
    assert said["figure"].axes[0].has_data()
    plt.close("all")


def test_there_are_notebooks_and_none_has_outputs():
    assert len(NOTEBOOKS) == 3
    assert not list(NOTEBOOKS[0].parent.glob("*.ipynb"))
