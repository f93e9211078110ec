"""The command line, as a user types it: real processes, in float32."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import as_users
from tests.tiers import cases, thorough

ROOT = Path(__file__).parent.parent


def tbptt(*words, **environment):
    command = [sys.executable, "-m", "tbptt_jax.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=as_users.environment(**environment))


def test_help_does_not_import_jax():
    run = "from tbptt_jax.cli import main; main(['--help'])"
    program = f"import sys\ntry:\n {run}\nfinally: print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert all(word in done.stdout for word in ("list", "check", "info"))


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    program = "import sys, tbptt_jax.api, tbptt_jax.experiments.copy\n"
    program += "print({'flax', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_info_says_versions_devices_and_places(tmp_path):
    done = tbptt("info", "--results", str(tmp_path), TBPTT_DATA=str(tmp_path / "texts"), JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^jax +\d", done.stdout, re.M) and "cpu" in done.stdout
    assert str(tmp_path) in done.stdout and str(tmp_path / "texts") in done.stdout


def test_list_shows_every_estimator_as_it_is_written():
    done = tbptt("list")
    assert done.returncode == 0, done.stderr
    for form in (
        "full(states=None, critic=None, parallel=False, reach=0)",
        "segment(tau, offset=0, in_order=False, states=None, critic=None, parallel=False, reach=0)",
        "randomized(keep, shared=False, states=None, critic=None, parallel=False, reach=0)",
        "artbp(length, alpha=4.0, shared=False, states=None, critic=None, parallel=False, reach=0)",
        "kf_rtrl(epsilon=1e-07)",
        "recall(distance=10, symbols=4, batch_size=32)",
    ):
        assert form in done.stdout


@thorough
def test_the_extension_example_of_the_docs_passes_the_check(tmp_path):
    """The code block on the page is what is run, and it is at most ten lines."""
    page = (ROOT / "docs" / "estimators.md").read_text()
    (block,) = re.findall(r"```python\n# my\.py\n(.*?)```", page, re.S)
    code = [line for line in block.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(code) <= 10
    more = re.findall(r"```python\n(    (?:@classmethod\n    def of_length|def law)\(.*?)```", page, re.S)
    assert len(more) == 2
    imports = "import jax.numpy as jnp\nfrom tbptt_jax.estimators.laws import Independent\n"
    (tmp_path / "my.py").write_text("\n".join(["from __future__ import annotations", imports + block, *more]))
    done = tbptt("check", f"{tmp_path}/my.py:Mine(keep=0.8)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout and "all held" in done.stdout and "are those of its law" in done.stdout


@thorough
def test_the_task_of_the_docs_trains_in_an_experiment(tmp_path):
    (block,) = re.findall(r"```python\n# my_task\.py\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.S)
    imports = "from dataclasses import dataclass\nimport jax, jax.numpy as jnp\nimport tbptt_jax as tb\n"
    (tmp_path / "my_task.py").write_text(imports + block)
    task = f"{tmp_path}/my_task.py:Parity(length=4)"
    words = ("--task", task, "--estimator", "full()", "--set", "updates=20", "--set", "cell=tanh", "--seeds", "1")
    done = tbptt("run", "long_dependencies", "--scale", "smoke", *words, "--results", str(tmp_path))
    assert done.returncode == 0 and "1 done" in done.stdout, done.stdout + done.stderr


BIASED = """
from dataclasses import dataclass
import jax
import tbptt_jax as tb

@dataclass(frozen=True)
class Biased(tb.GatedEstimator):
    keep: float = 0.9
    unbiased = "chunk"

    def gates(self, key, length, batch_size):
        return jax.random.bernoulli(key, self.keep, (length, batch_size)) / (self.keep + {slip})
"""


@thorough
@pytest.mark.parametrize("slip", [0.1, 0.01])
def test_a_biased_estimator_that_says_it_is_unbiased_is_caught(tmp_path, slip):
    """keep + 0.1 forgets to reweight; keep + 0.01 is a slip of one per cent in the weight."""
    (tmp_path / "biased.py").write_text(BIASED.format(slip=slip))
    done = tbptt("check", f"{tmp_path}/biased.py:Biased()")
    assert done.returncode == 1
    assert re.search(r"BROKEN +the products of its gates have mean 1", done.stdout)
    if slip == 0.1:
        assert re.search(r"BROKEN +its mean is the exact gradient", done.stdout)


BAD_WORDS = [
    (["check", "segmnt(tau=3)"], "unknown name 'segmnt'. Did you mean segment"),
    (["check", "window(tau=0)"], "window: tau must be a whole number of at least 1, got 0"),
    (["check", "segment(tau=2.5)"], "segment: tau must be a whole number of at least 1, got 2.5"),
    (["check", "segment(tau='x')"], "segment: tau must be a whole number of at least 1, got 'x'"),
    (["check", "randomized(keep=None)"], "randomized: keep must be a number above 0 and at most 1, got None"),
]


@pytest.mark.parametrize("words, said", cases(BAD_WORDS, BAD_WORDS[:2]))
def test_bad_words_end_with_a_message_and_no_traceback(words, said):
    done = tbptt(*words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@thorough
def test_a_class_that_a_file_lacks_is_named_with_those_it_has(tmp_path):
    (tmp_path / "biased.py").write_text(BIASED.format(slip=0))
    done = tbptt("check", f"{tmp_path}/biased.py:Biassed()")
    assert done.returncode == 2 and "Did you mean Biased" in done.stderr
    (tmp_path / "broken.py").write_text("1 / 0")
    done = tbptt("check", f"{tmp_path}/broken.py:Mine()")
    assert done.returncode == 2 and "broken.py, line 1, cannot be imported: ZeroDivisionError" in done.stderr
