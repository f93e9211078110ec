# `make demo` and `make test` set everything up by themselves; nothing is needed beforehand but Python 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-all test-ecosystem soak lint site wheel setup clean

demo: setup
	$(BIN)/tbptt run break_even --scale smoke --jobs 2

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The same, with further cases of what `make test` shows on a few, and with what takes long.
test-all: setup
	$(BIN)/python -m pytest -m 'not soak' -n 2 --dist worksteal

# What is tested against packages that few have installed: Equinox.
test-ecosystem: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ecosystem]'
	$(BIN)/python -m pytest -m 'not soak' tests/examples tests/programs -n 2

# Processes that are killed, again and again: minutes, and no part of `make test`.
soak: setup
	$(BIN)/python -m pytest -m soak -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in build/site; a broken link is an error.
site: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/mkdocs build --strict

wheel: setup
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": name another with `make PYTHON=python3.12 ...`")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
