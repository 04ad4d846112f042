PYTHON ?= python3
BIN := .venv/bin
# One process per core, each with one thread that does not spin while it waits: most tests are too small for two.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: install demo test test-more test-slow bench

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plusx needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: install  ## four nets on real digits: why shortcuts matter, in about a minute
	$(BIN)/plusx demo

test: install  ## format, lint, types, imports, tests, examples of the docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m 'not slow and not more'

test-more: install  ## every net, compilers, equality with other libraries, faults
	$(PYTEST) -m 'more and not slow'

test-slow: install  ## the long runs
	$(BIN)/python -m pytest -m slow

bench: install  ## ours beside its peers, into results/; nothing else should run
	$(BIN)/python -m benchmarks all
