# make demo · make test (lint beside every ring) · make lint · make bench · make serve · make mutants · make leaks · make lock
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

RINGS  := policy providers sql flows sandbox acceptance
PYTEST  = $(BIN)/python -m pytest -q -p no:cacheprovider

# Prefect: nothing leaves this machine.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: demo test lint bench serve mutants kills leaks lock prerequisites clean $(RINGS:%=ring-%)

demo: $(READY) prerequisites
	$(BIN)/python -m sandbox demo

# What cannot raise worlds says why and tests the rest.
test: $(READY)
	-$(BIN)/python -m sandbox doctor --install
	$(BIN)/python tests/rings.py lint $(RINGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/squawk --config .squawk.toml $$(git ls-files 'sql/migrations/*.sql' | grep -v '/0001_' | grep -v '\.down\.sql')

bench: $(READY)
	$(BIN)/python -m tests.benchmarks $(BENCH)

serve: $(READY)
	$(BIN)/python -m flows serve

# Ten demos in a row, and nothing may stay: make leaks ROUNDS=3 for fewer, PLAY=world for a world alone.
leaks: $(READY) prerequisites
	ROUNDS=$(ROUNDS) PLAY=$(PLAY) $(BIN)/python -m tests.leaks

# Ten thousand jobs, two hundred workers killed at random moments; the seed is printed (PENGUINMAILS_TEST_SEED plays it again).
kills: $(READY)
	PENGUINMAILS_TEST_JOBS=10000 PENGUINMAILS_TEST_KILLS=200 $(PYTEST) -s tests/flows/test_worker.py -k whenever

mutants: $(READY) prerequisites
	$(BIN)/python tests/mutants.py $(MUTANT)

# As root the sandbox's Debian packages are installed; an ordinary user is told what to do once, by sudo.
prerequisites: $(READY)
	$(BIN)/python -m sandbox doctor --install

$(READY): requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	touch $@

# Locks carry hashes and no addresses. --no-deps above: the list is complete, and extras confuse older pips.
LOCK := uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --quiet --custom-compile-command "make lock"
lock:
	$(LOCK) -o requirements.txt
	$(LOCK) --group dev -o requirements-dev.txt

clean:
	rm -rf $(VENV) .ruff_cache .pytest_cache .hypothesis .import_linter_cache
