# The project's only front door. Every verb makes the virtual environment it needs by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOB    ?= sample_jobs/quickstart.toml
ENGINE ?= local

.DEFAULT_GOAL := help
.PHONY: help setup run test quick crash check bench picture lock clean

help: ## what there is to do here
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "batchrunner needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "This python3 can't make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY) ## make the virtual environment with the locked versions

run: $(READY) ## the sample job against the simulated gateway: no key, no cost (JOB=... for another)
	$(BIN)/batchrunner run $(JOB) --simulate

test: $(READY) ## every test
	$(BIN)/python -m pytest -n 4 --dist worksteal -m 'not exact'
	$(BIN)/python -m pytest -n 2 --dist worksteal -m exact

quick: $(READY) ## the tests that take seconds
	$(BIN)/python -m pytest -n 4 --dist worksteal -m 'not slow'

crash: $(READY) ## kill -9 in every phase of a run; prints the tally (SEED=... for one, ENGINE=ray)
	PYTHONPATH=tests $(BIN)/python -m crash $(ENGINE) $(SEED)

check: $(READY) ## lint, format, types, the imports between the rooms, and the lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_rooms.py tests/test_supply.py

bench: $(READY) ## the benchmarks; prints their tables
	$(BIN)/python -m tests.benchmarks

picture: $(READY) ## draw the README's picture of a running job anew
	PYTHONPATH=tests $(BIN)/python -m picture .github/run.svg

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --universal --generate-hashes --group dev pyproject.toml --no-header --upgrade -o requirements.lock

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
