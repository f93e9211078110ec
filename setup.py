"""The packages: those of `tbptt_jax/`, and the experiments, which stand at the top and are installed inside it.

Everything else is in `pyproject.toml`, which cannot say this.
"""

from setuptools import find_packages, setup

EXPERIMENTS = "experiments"
inside = ["", *(f".{name}" for name in find_packages(EXPERIMENTS))]
setup(
    packages=[*find_packages(include=["tbptt_jax*"]), *(f"tbptt_jax.experiments{name}" for name in inside)],
    package_dir={"tbptt_jax.experiments": EXPERIMENTS},
)
