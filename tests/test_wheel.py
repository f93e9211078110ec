"""What is installed: a wheel holds the experiments, and works in an empty folder, away from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tiers import thorough

ROOT = Path(__file__).parent.parent


@thorough
def test_a_wheel_lists_and_runs_the_experiments_outside_a_checkout(tmp_path):
    source, site, elsewhere = tmp_path / "source", tmp_path / "site", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    for name in ("tbptt_jax", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("tbptt_jax-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)

    def python(*words):
        environment = os.environ | {"PYTHONPATH": str(site)}  # before the checkout, which this Python knows
        done = subprocess.run([sys.executable, *words], cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = python("-c", "import tbptt_jax.experiments as e, tbptt_jax as t; print(t.__file__, e.__file__, sep='\\n')")
    assert all(str(site) in line for line in where.split())
    assert (site / "bin" / "tbptt").is_file() and (site / "tbptt_jax" / "py.typed").is_file()
    assert "truncation_patterns" in python("-m", "tbptt_jax.cli", "list")
    said = python("-m", "tbptt_jax.cli", "run", "truncation_patterns", "--scale", "smoke", "--set", "samples=256")
    assert "6 done" in said and (elsewhere / "results" / "truncation_patterns" / "chosen" / "table.parquet").is_file()
