# Each target makes its own virtual environment (.venv, the benchmarks .venv-bench) and needs only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
INSTALL := -m pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --require-hashes --only-binary :all:
PIP := $(BIN)/python $(LOCKED)

.PHONY: demo test test-fast lint format bench lock clean

$(VENV)/.runtime: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; set PYTHON=..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) (a few minutes the first time)"
	$(PIP) -r requirements.lock
	$(BIN)/python $(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; set PYTHON=..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) (a few minutes the first time)"
	$(PIP) -r requirements-dev.lock
	$(BIN)/python $(INSTALL) --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime
	$(BIN)/janus demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The peers of benchmarks.replay, benchmarks.logic and benchmarks.schemas bring PyTorch: some 6 GB. --no-deps, because
# tianshou's bounds are overridden. Where a peer has no wheel for this platform, its rows of the table say that it is missing.
$(BENCH)/.bench: requirements-bench.lock requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; set PYTHON=..."'
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@echo "installing the locked dependencies into $(BENCH) (many minutes the first time)"
	$(BENCH)/bin/python $(LOCKED) -r requirements.lock
	$(BENCH)/bin/python $(LOCKED) --no-deps -r requirements-bench.lock || echo "the peers could not be installed"
	$(BENCH)/bin/python $(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

bench: $(BENCH)/.bench
	$(BENCH)/bin/python -m benchmarks.replay --json build/replay.json
	$(BENCH)/bin/python -m benchmarks.logic --json build/logic.json
	$(BENCH)/bin/python -m benchmarks.ingest --json build/ingest.json
	$(BENCH)/bin/python -m benchmarks.cycle --json build/cycle.json
	$(BENCH)/bin/python -m benchmarks.schemas --json build/schemas.json --pictures build

# Needs uv; writes no index address into the files.
UV := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --only-binary :all:
lock:
	$(UV) --extra build pyproject.toml -o requirements.lock
	$(UV) --extra build --extra dev pyproject.toml -o requirements-dev.lock
	$(UV) --extra build --extra bench --constraint requirements.lock pyproject.toml -o requirements-bench.lock

clean:
	rm -rf $(VENV) $(BENCH) build demo-data infra/kafka/target
