# Everything one does with this repository, one word each. `make` lists the words.
#
# Needs make and a Python of at least 3.11; no root. What it installs goes into .venv, exactly as pinned and hashed in
# requirements/. A stamp per set, .venv/<set>.stamp, keeps a second call from installing again.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # `make check` runs its steps in the order in which they are listed
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install
TYPED := runtara tests $(wildcard docs/*.py examples/*.py benchmarks/*.py)
CODE := runtara tests $(wildcard docs examples benchmarks)

# The newest suitable interpreter; override with `make PYTHON=...`. One without venv and ensurepip is no use.
PYTHON = $(shell for name in python3.13 python3.12 python3.11 python3; do \
	"$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { command -v "$$name"; break; }; done)

## People

.PHONY: help demo
help: ## list the words
	@awk -F ':.*## ' '/^## /{print "\n" substr($$0, 4)} /^[a-z-]+:.*## /{printf "  make %-12s  %s\n", $$1, $$2}' Makefile

demo: $(VENV)/run.stamp ## run the main job: a program that is killed and continues where it was
	$(BIN)/python examples/demo.py

## Checks

.PHONY: check test test-slow format-check lint types imports
check: format-check lint types imports test ## everything that must hold before a commit, in this order

format-check: $(VENV)/dev.stamp ## is the code formatted?
	$(BIN)/ruff format --check $(CODE)

lint: $(VENV)/dev.stamp ## ruff, with the rules chosen in pyproject.toml
	$(BIN)/ruff check $(CODE)

types: $(VENV)/dev.stamp ## mypy, strict
	$(BIN)/mypy $(TYPED)

imports: $(VENV)/dev.stamp ## imports only go down
	$(BIN)/lint-imports --no-logo

# Some more tests at a time than there are cores: tests/conftest.py says how many. A file's tests stay together: they
# share clusters and databases; files come in the order that it gives them, those that take long first. A worker that
# dies ends the run, with the name of its test: tests/timeouts.py.
PYTEST := $(BIN)/python -m pytest -rsfE -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Tests start hundreds of processes, and each would compile the package anew where the machine says so.
export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/dev.stamp ## the tests, except the slow ones; options in ARGS="..."
	$(PYTEST) $(ARGS)

test-slow: $(VENV)/dev.stamp ## only the slow tests
	$(PYTEST) -m slow $(ARGS)

## Work

.PHONY: format coverage bench docs lock clean distclean
format: $(VENV)/dev.stamp ## format the code and repair what ruff can repair
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

coverage: $(VENV)/dev.stamp ## the tests, and which branches they did not take
	$(BIN)/python -m coverage run -m pytest -rsfE $(ARGS)
	$(BIN)/python -m coverage report

bench: $(VENV)/bench.stamp ## measure us beside our peers; options in ARGS="..."
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/run.stamp ## write docs/reference from the tables in the code
	$(BIN)/python docs/generate.py

# The dev set is solved first and binds the others, so that all of them fit into one environment.
LOCK = $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
lock: $(VENV)/lock.stamp ## pin and hash requirements/ again; newer versions with UPGRADE=--upgrade
	$(LOCK) pyproject.toml --group build --group test --group check -o requirements/dev.txt
	$(LOCK) pyproject.toml --group build -c requirements/dev.txt -o requirements/run.txt
	$(LOCK) pyproject.toml --group build --group bench -c requirements/dev.txt -o requirements/bench.txt
	$(LOCK) --group lock -o requirements/lock.txt

clean: ## remove caches and build products
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*
	find $(CODE) -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove .venv, too
	rm -rf $(VENV)

# Environments ---------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "no suitable Python: install Python 3.11 or newer, with venv (Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)

$(VENV)/lock.stamp: requirements/lock.txt | $(BIN)/python
	$(INSTALL) --require-hashes -r $<
	@touch $@

# The package itself is linked, not copied; setuptools comes from the lock, so that nothing unlocked is fetched for it.
# The link is a line in a .pth file: the other kind, a finder of setuptools, costs every start of Python 30 ms.
LINKED := --config-settings editable_mode=compat
$(VENV)/%.stamp: requirements/%.txt pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r $<
	PYTHONWARNINGS=ignore $(INSTALL) --no-deps --no-build-isolation $(LINKED) --editable .
	@touch $@
